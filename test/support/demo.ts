// The main job, end to end, as a newcomer would do it: run a fleet, use a tenant with the official SDK, lose the
// machine, find everything again; then lose the control plane as well, and take the tenant back from the objects alone.

import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { EventSource } from 'eventsource'
import type PocketBase from 'pocketbase'
import { seededRng } from '../../src/lib/rng.ts'
import { Fleet } from './fleet.ts'
import { peer } from './peers.ts'
import { until } from './wait.ts'

export interface DemoOptions {
  /** Fresh and empty; the caller deletes it. */
  readonly dir: string
  readonly kind: 'source' | 'binary'
  /** S3 flags; without them the objects lie in `dir/objects`. */
  readonly storeFlags?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly port?: number
  /** Called as each step ends. */
  readonly onStep?: (step: DemoStep) => void
}

export interface DemoStep {
  readonly title: string
  readonly detail: string
  readonly ms: number
}

const slug = 'demo'
const records = 1_000
const files = 20
const writersAtOnce = 16
const superuser = { email: 'founder@example.com', password: 'a-long-demo-password' }
/** What the fixture's superuser signs in with; see the conformance cases. */
const fixtureSuperuser = { email: 'test@example.com', password: '1234567890' }

interface Written {
  readonly id: string
  readonly title: string
  readonly file: { readonly name: string; readonly sha256: string } | null
}

const sha256 = (bytes: Uint8Array) => new Bun.CryptoHasher('sha256').update(bytes).digest('hex')

/** Runs the whole demo; throws at the first thing that is not as promised. */
export async function runDemo(options: DemoOptions): Promise<readonly DemoStep[]> {
  const steps: DemoStep[] = []
  const step = async <T>(title: string, body: () => Promise<readonly [detail: string, value: T]>): Promise<T> => {
    const startedAtMs = performance.now()
    const [detail, value] = await body()
    const done = { title, detail, ms: performance.now() - startedAtMs }
    steps.push(done)
    options.onStep?.(done)
    return value
  }
  // Bun has no EventSource of its own; the SDK's documentation asks for this polyfill.
  Object.assign(globalThis, { EventSource })
  mkdirSync(options.dir, { recursive: true })
  const start = () =>
    Fleet.start({
      dir: options.dir,
      kind: options.kind,
      flags: options.storeFlags ?? [],
      ...(options.env && { env: options.env }),
      ...(options.cwd && { cwd: options.cwd }),
      ...(options.port !== undefined && { port: options.port }),
    })
  let fleet: Fleet | null = null
  try {
    const first = (fleet = await step('start a fleet', async () => {
      const started = await start()
      return [`${started.url}, ${started.children().length} processes`, started]
    }))
    const token = await step('make an admin', async () => {
      const made = JSON.parse(await first.cli(['admin', 'create', 'ops@example.com', '--json'])) as { token: string }
      return ['its token works from here on', made.token]
    })
    const tenantId = await step('make a tenant', async () => {
      const made = JSON.parse(
        await first.cli(
          [
            'tenant',
            'create',
            slug,
            '--superuser',
            superuser.email,
            '--superuser-password',
            superuser.password,
            '--json',
          ],
          token,
        ),
      ) as { id: string; status: string }
      if (made.status !== 'active') throw new Error(`the tenant is ${made.status}, not active`)
      return [`${slug} (${made.id})`, made.id]
    })
    const login = await step('import an existing app', () => importApp(first, token))
    const client = await step('sign in with the official SDK', async () => {
      const sdk = first.sdk(slug)
      await sdk.collection('_superusers').authWithPassword(login.email, login.password)
      return [login.email, sdk]
    })
    const before = await step(
      'look at what was imported',
      async () => [...(await imported(client))] as unknown as readonly [string, Imported],
    )
    const written = await step('collection, records, files, realtime', () => writeMuch(client))
    await step('one write that waits for the store', async () => {
      const { id, title } = written[0]!
      await client.collection('notes').update(id, { title }, { headers: { 'x-ack': 'sync' } })
      return ['X-Ack: sync; whatever was written before is there too', null]
    })
    await step('SIGKILL the whole process tree', async () => {
      await first.killTree()
      return ['every process is gone', null]
    })
    await step('delete every tenant file of the machine', async () => {
      for (const name of readdirSync(options.dir))
        if (name !== 'objects' && name !== 'cp') rmSync(join(options.dir, name), { recursive: true, force: true })
      return [`left: ${readdirSync(options.dir).join(', ')}`, null]
    })
    const second = (fleet = await step('start again', async () => {
      const started = await start()
      if (started.adminToken !== null) throw new Error('a second start must not make a second first admin')
      return [started.url, started]
    }))
    await step('everything is there', () => verify(second, login, before, written))
    await step('SIGKILL, and delete the control plane too', async () => {
      await second.killTree()
      for (const name of readdirSync(options.dir))
        if (name !== 'objects') rmSync(join(options.dir, name), { recursive: true, force: true })
      return [`left: ${readdirSync(options.dir).join(', ') || 'nothing'}`, null]
    })
    const third = (fleet = await step('start a fresh fleet', async () => {
      const started = await start()
      if (started.adminToken === null) throw new Error('a fresh control plane must print its first admin token')
      return [started.url, started]
    }))
    await step('adopt the tenant from the object store', async () => {
      const adopted = JSON.parse(await third.cli(['tenant', 'adopt', slug, '--json'])) as { id: string }
      if (adopted.id !== tenantId) throw new Error(`adopted ${adopted.id}, expected ${tenantId}`)
      return [`${slug} (${adopted.id})`, null]
    })
    await step('everything is there, once more', () => verify(third, login, before, written))
    await step('stop gracefully', async () => {
      const code = await third.stop()
      if (code !== 0) throw new Error(`exit code ${code}: ${third.output}`)
      return ['exit code 0', null]
    })
    fleet = null
    return steps
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}\n${fleet?.output ?? ''}`, { cause: error })
  } finally {
    await fleet?.killTree()
  }
}

/** The recorded PocketBase fixture where it is at hand, else an app that the demo makes with the SDK. */
async function importApp(fleet: Fleet, token: string): Promise<readonly [string, { email: string; password: string }]> {
  const conformance = peer('conformance')
  const fixture = conformance ? join(dirname(conformance), 'fixture') : null
  if (fixture !== null && existsSync(fixture)) {
    await fleet.cli(['tenant', 'import', fixture, '--tenant', slug, '--yes'], token)
    return ['pb_data of a real PocketBase', fixtureSuperuser]
  }
  const sdk = fleet.sdk(slug)
  await sdk.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await sdk.collections.create({ name: 'demo1', type: 'base', fields: [{ name: 'text', type: 'text' }] })
  for (let i = 0; i < 10; i++) await sdk.collection('demo1').create({ text: `generated ${i}` })
  return ['a generated data set', superuser]
}

type Imported = Readonly<Record<string, number>>

/** How many records each collection holds. */
async function imported(client: PocketBase): Promise<readonly [string, Imported]> {
  const collections = await client.collections.getFullList()
  const counts: Record<string, number> = {}
  for (const { name, type } of collections) {
    // Signing in writes here.
    if (type === 'view' || name === '_authOrigins' || name === '_mfas' || name === '_otps') continue
    counts[name] = (await client.collection(name).getList(1, 1)).totalItems
  }
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
  return [`${Object.keys(counts).length} collections, ${total} records`, counts]
}

/** A new collection, its records and files, with a realtime subscriber that must see each create. */
async function writeMuch(client: PocketBase): Promise<readonly [string, readonly Written[]]> {
  await client.collections.create({
    name: 'notes',
    type: 'base',
    fields: [
      { name: 'title', type: 'text', required: true },
      { name: 'number', type: 'number' },
      { name: 'attachment', type: 'file', maxSelect: 1, maxSize: 5_000_000 },
    ],
  })
  const seen = new Set<string>()
  const unsubscribe = await client.collection('notes').subscribe('*', (event) => {
    if (event.action === 'create') seen.add(event.record.id)
  })
  const rng = seededRng(20_26)
  const written: Written[] = []
  const writeOne = async (index: number) => {
    const title = `note ${index}`
    if (index >= files) {
      const record = await client.collection('notes').create({ title, number: index })
      written.push({ id: record.id, title, file: null })
      return
    }
    const bytes = rng.bytes(1_000 + index * 10_000)
    const attachment = new File([bytes as Uint8Array<ArrayBuffer>], `photo ${index}.bin`)
    const record = await client.collection('notes').create({ title, number: index, attachment })
    written.push({ id: record.id, title, file: { name: record['attachment'], sha256: sha256(bytes) } })
  }
  for (let from = 0; from < records; from += writersAtOnce) {
    const batch = Array.from({ length: Math.min(writersAtOnce, records - from) }, (_, offset) =>
      writeOne(from + offset),
    )
    await Promise.all(batch)
  }
  await until('all realtime events', () => seen.size === records)
  await unsubscribe()
  return [`${records} records, ${files} files, ${seen.size} events`, written]
}

/** Every record, file byte and login is there. */
async function verify(
  fleet: Fleet,
  login: { readonly email: string; readonly password: string },
  before: Imported,
  written: readonly Written[],
): Promise<readonly [string, null]> {
  const client = fleet.sdk(slug)
  await client.collection('_superusers').authWithPassword(login.email, login.password)
  const [, counts] = await imported(client)
  for (const [name, count] of Object.entries(before))
    if (counts[name] !== count) throw new Error(`${name} has ${counts[name]} records, expected ${count}`)
  const found = new Map((await client.collection('notes').getFullList({ batch: 500 })).map((each) => [each.id, each]))
  if (found.size !== written.length) throw new Error(`found ${found.size} notes, expected ${written.length}`)
  let bytes = 0
  for (const { id, title, file } of written) {
    const record = found.get(id)
    if (record?.['title'] !== title) throw new Error(`note ${id} is ${JSON.stringify(record)}, expected ${title}`)
    if (file === null) continue
    const response = await fetch(client.files.getURL(record, file.name))
    const body = await response.bytes()
    if (response.status !== 200 || sha256(body) !== file.sha256)
      throw new Error(`file ${file.name} came back with ${response.status} and ${body.length} other bytes`)
    bytes += body.length
  }
  return [`${found.size} records, ${files} files (${bytes} bytes), 1 login`, null]
}
