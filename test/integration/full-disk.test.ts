// Goal: a full disk costs no acknowledged write, is told as what it is, and ends when there is room. Method: a real
// engine over HTTP whose database may not grow, which SQLite reports exactly as it does a device without space.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import PocketBase, { ClientResponseError } from 'pocketbase'
import { saveUser } from '../support/engine.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

let server: Standalone
let client: PocketBase

beforeAll(async () => {
  server = await startStandalone()
  const email = 'root@example.com'
  await saveUser(server.engine, '_superusers', { email, password: 'a-long-password' })
  client = new PocketBase(server.url)
  client.autoCancellation(false)
  await client.collection('_superusers').authWithPassword(email, 'a-long-password')
  await client.collections.create({
    name: 'notes',
    type: 'base',
    fields: [{ name: 'text', type: 'text', max: 100_000 }],
  })
})

afterAll(() => server.stop())

const pagesMax = (pages: number) =>
  server.engine.data.transaction(() => server.engine.data.exec(`PRAGMA max_page_count = ${pages}`))

test('writes are 507, reads go on, and nothing is half-written', async () => {
  const notes = client.collection('notes')
  const text = 'x'.repeat(50_000)
  const kept = [(await notes.create({ text })).id]
  await pagesMax(1) // never below what there is
  let refused: ClientResponseError | null = null
  for (let n = 0; n < 20 && refused === null; n++) {
    try {
      kept.push((await notes.create({ text })).id)
    } catch (error) {
      if (!(error instanceof ClientResponseError)) throw error
      refused = error
    }
  }
  expect(refused?.response).toEqual({ status: 507, message: 'The disk of the server is full.', data: {} })
  await expect(notes.update(kept[0]!, { text: 'y'.repeat(90_000) })).rejects.toMatchObject({ status: 507 })
  const ids = async () => (await notes.getFullList({ sort: 'id' })).map(({ id }) => id)
  expect(await ids()).toEqual([...kept].sort())
  expect((await notes.getOne(kept[0]!))['text']).toBe(text)
  server.engine.data.quickCheck()
  await pagesMax(1_000_000)
  kept.push((await notes.create({ text })).id)
  expect(await ids()).toEqual([...kept].sort())
})
