// The same requests to PocketBase and to us, compared. Both start from one data directory, which PocketBase wrote.

import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type PeerServer, startPocketBase } from '../support/pocketbase.ts'
import { startStandalone } from '../support/standalone.ts'
import { Generator, password, type RequestPlan, recordsPerCollection, usersCount } from './generator.ts'

export interface Outcome {
  readonly differences: readonly Difference[]
  /** Answers by status, PocketBase's: a run that only ever met errors would prove nothing. */
  readonly statuses: ReadonlyMap<string, number>
}

export interface Difference {
  readonly request: RequestPlan
  readonly theirs: string
  readonly ours: string
}

const superuser = { email: 'root@example.com', password: '1234567890' }
async function send(url: string, method: string, path: string, token: string, body: unknown): Promise<Response> {
  const headers: Record<string, string> = { 'x-test': '1' }
  if (token !== '') headers['authorization'] = token
  if (body !== null) headers['content-type'] = 'application/json'
  return fetch(url + path, { method, headers, ...(body !== null && { body: JSON.stringify(body) }) })
}

async function expectOk(answer: Response, what: string): Promise<Record<string, unknown>> {
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${what}: ${answer.status} ${text}`)
  return (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>
}

/** Times differ by nature, and so does the order in which records with equal keys stand. */
function normalize(status: number, text: string): string {
  return `${status} ${text.trimEnd().replace(/"(created|updated)":"[^"]*"/g, '"$1":"T"')}`
}

/**
 * Runs one world: a random schema with records, then `count` random requests.
 *
 * @param start starts what is compared with PocketBase, on a copy of the directory that PocketBase wrote.
 */
export async function differ(
  binary: string,
  seed: number,
  count: number,
  start: (dir: string) => Promise<PeerServer> = startStandalone,
): Promise<Outcome> {
  const generator = new Generator(seed)
  const dir = mkdtempSync(join(tmpdir(), 'pf-differ-'))
  const theirDir = join(dir, 'pb_data')
  let theirs: PeerServer | null = null
  let ours: PeerServer | null = null
  try {
    theirs = await startPocketBase(binary, { dir: theirDir, superuser })
    const tokens = await fill(theirs.url, generator)
    await theirs.stop()
    cpSync(theirDir, join(dir, 'copy'), { recursive: true })
    theirs = await startPocketBase(binary, { dir: theirDir })
    ours = await start(join(dir, 'copy'))
    return await compare([theirs.url, ours.url], tokens, generator, count)
  } finally {
    await theirs?.stop()
    await ours?.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Makes the schema and the records. @returns a token for each caller. */
async function fill(url: string, generator: Generator): Promise<string[]> {
  const signIn = async (collection: string, identity: string, secret: string) => {
    const body = { identity, password: secret }
    const answer = await send(url, 'POST', `/api/collections/${collection}/auth-with-password`, '', body)
    return (await expectOk(answer, 'sign in'))['token'] as string
  }
  const root = await signIn('_superusers', superuser.email, superuser.password)
  const collections = generator.collections.map((plan) => plan.json)
  // Rules name other collections: first the tables, then the rules.
  const bare = collections.map((json) => ({
    ...json,
    listRule: '',
    viewRule: '',
    createRule: '',
    updateRule: '',
    deleteRule: '',
    manageRule: undefined,
  }))
  await expectOk(await send(url, 'PUT', '/api/collections/import', root, { collections: bare }), 'import')
  for (const json of collections) {
    // A rule that PocketBase refuses stays open; both sides see what was stored.
    for (const rule of ['listRule', 'viewRule', 'createRule', 'updateRule', 'deleteRule', 'manageRule'])
      if (json[rule] !== undefined)
        await send(url, 'PATCH', `/api/collections/${json['id']}`, root, { [rule]: json[rule] })
    await send(url, 'PATCH', `/api/collections/${json['id']}`, root, {
      passwordAuth: { enabled: true, identityFields: ['email'] },
    })
  }
  for (let round = 0; round < 2; round++)
    for (const plan of generator.collections)
      for (let index = 0; index < (plan.isAuth ? usersCount + 3 : recordsPerCollection); index++) {
        const body = generator.newRecord(plan, index)
        const path = `/api/collections/${plan.name}/records`
        if (round === 0) await send(url, 'POST', path, root, body)
        else if (!plan.isAuth) await send(url, 'PATCH', `${path}/${body['id']}`, root, generator.values(plan, 70))
      }
  const users: string[] = []
  const people = generator.collections[0]!
  for (let index = 0; index < usersCount; index++) {
    const [id, email] = [generator.idOf(people, index), `user${index}@example.com`]
    const body = { id, email, password, passwordConfirm: password }
    // Where the random values of the first attempt were refused, the user is still missing.
    await send(url, 'POST', '/api/collections/people/records', root, body)
    users.push(await signIn('people', `user${index}@example.com`, password))
  }
  return ['', root, ...users]
}

async function compare(
  [theirs, ours]: readonly [string, string],
  tokens: readonly string[],
  generator: Generator,
  count: number,
): Promise<Outcome> {
  const differences: Difference[] = []
  const statuses = new Map<string, number>()
  const ask = async (url: string, plan: RequestPlan) => {
    const answer = await send(url, plan.method, plan.path, tokens[plan.caller]!, plan.body)
    return normalize(answer.status, await answer.text())
  }
  const both = async (request: RequestPlan) => {
    const [a, b] = await Promise.all([ask(theirs, request), ask(ours, request)])
    const status = a.slice(0, 3)
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    if (a !== b) differences.push({ request, theirs: a, ours: b })
  }
  let reads: Promise<void>[] = []
  for (let index = 0; index < count; index++) {
    const request = generator.request(index)
    if (request.method === 'GET') reads.push(both(request))
    if (request.method !== 'GET' || reads.length >= 8) {
      await Promise.all(reads)
      reads = []
    }
    if (request.method !== 'GET') await both(request)
  }
  await Promise.all(reads)
  return { differences, statuses }
}
