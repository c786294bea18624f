// Goal: views whose answer is kept answer as if it had been read again, and only those who may see the same get it.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { hostOf, openTestEngine, saveUser, type TestEngine } from '../../../test/support/engine.ts'
import { newAuthToken } from '../engine/auth/tokens.ts'
import { createCollection, updateCollection } from '../engine/collections/manage.ts'
import { fieldToJson } from '../engine/fields/field.ts'
import { logsOf } from '../engine/logs/log-store.ts'
import { EngineRecord } from '../engine/records/record.ts'
import { TenantApi } from './app.ts'

let opened: TestEngine
let api: TenantApi
let id: string
let answered: number[]

beforeEach(async () => {
  opened = await openTestEngine()
  const { engine } = opened
  answered = []
  api = new TenantApi({
    onAnswered: ({ status }) => answered.push(status),
    host: hostOf(engine),
  })
  const fields = [
    { name: 'title', type: 'text' },
    { name: 'secret', type: 'text', hidden: true },
  ]
  await createCollection(engine, { name: 'notes', type: 'base', viewRule: '', fields })
  const record = EngineRecord.blank(engine.collections.require('notes'))
  record.set('title', 'one <b>')
  record.set('secret', 'hidden')
  await engine.records.save(record)
  id = record.id
})
afterEach(() => opened[Symbol.asyncDispose]())

async function view(token = '', query = ''): Promise<[status: number, body: Record<string, unknown>]> {
  const headers: Record<string, string> = token === '' ? {} : { authorization: token }
  const request = new Request(`http://localhost/api/collections/notes/records/${id}${query}`, { headers })
  const response = await api.answer(request, null)
  return [response.status, (await response.json()) as Record<string, unknown>]
}

test('what was written is shown at once, and what was deleted no more', async () => {
  const { records, collections } = opened.engine
  const first = await view()
  expect(first).toMatchObject([200, { id, title: 'one <b>', collectionName: 'notes' }])
  expect(await view()).toEqual(first)
  const record = records.findById(collections.require('notes'), id)!
  record.set('title', 'two')
  await records.save(record)
  expect(await view()).toMatchObject([200, { title: 'two' }])
  await records.delete(record)
  expect((await view())[0]).toBe(404)
})

test('superusers see what is hidden, others do not, in whatever order they come', async () => {
  const { engine } = opened
  const token = newAuthToken(await saveUser(engine, '_superusers', { email: 'a@example.com' }), engine.clock.now())
  for (let i = 0; i < 2; i++) {
    expect((await view())[1]).not.toHaveProperty('secret')
    expect((await view(token))[1]).toMatchObject({ secret: 'hidden' })
  }
  expect((await view('', '?fields=title'))[1]).toEqual({ title: 'one <b>' })
})

test('a rule, or a handler, that came later is asked', async () => {
  const { engine } = opened
  await view()
  const unbind = engine.chains.onRecordEnrich.bind({
    id: 'test',
    async handle(event) {
      event.record.extra = { more: 1 }
      await event.next()
    },
  })
  expect((await view())[1]).toMatchObject({ more: 1 })
  unbind()
  expect((await view())[1]).not.toHaveProperty('more')
  await updateCollection(engine, engine.collections.require('notes'), { viewRule: "title = 'other'" })
  expect((await view())[0]).toBe(404)
  await updateCollection(engine, engine.collections.require('notes'), { viewRule: null })
  expect((await view())[0]).toBe(403)
})

test('what a collection shows while a change of it is under way is not kept when that is undone', async () => {
  const { engine } = opened
  const notes = engine.collections.require('notes')
  const fields = notes.fields.map((field) => ({ ...fieldToJson(field), hidden: false }))
  const undone = engine.transaction(async () => {
    await updateCollection(engine, notes, { fields })
    await engine.data.outside(() => view())
    throw new Error('undone')
  })
  await expect(undone).rejects.toThrow('undone')
  expect((await view())[1]).not.toHaveProperty('secret')
})

test('a kept answer is limited and logged like any other, and told to whoever counts answers', async () => {
  const { engine } = opened
  const { settings, settingsStore } = engine
  const superuser = newAuthToken(await saveUser(engine, '_superusers', { email: 'a@example.com' }), engine.clock.now())
  const rules = [{ label: 'notes:view', audience: '' as const, duration: 3_600, maxRequests: 2 }]
  const rateLimits = { ...settings.rateLimits, rules, enabled: true }
  await settingsStore.save({ ...settings, rateLimits, superuserIPs: ['192.0.2.1'] })
  const statuses: number[] = []
  for (let i = 0; i < 3; i++) statuses.push((await view())[0])
  expect([statuses, (await view(superuser))[0]]).toEqual([[200, 200, 429], 403])
  expect(answered).toEqual([200, 200, 429, 403])
  await logsOf(engine).flush()
  expect(engine.aux.values("SELECT json_extract(data, '$.status') FROM `_logs` ORDER BY rowid").flat()).toEqual(
    answered,
  )
})
