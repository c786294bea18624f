// What is asked of every contestant: the scenarios of the public pocketbase/benchmarks project, on the fixture's rows.

import type { Expectation } from '../load/http-load.ts'
import { type Contestant, callApi, signIn, signInSuperuser } from './contestants.ts'
import {
  documentsId,
  type FixtureSize,
  fileBytes,
  fileName,
  idOf,
  memberPassword,
  organizations,
  rarePhrase,
} from './fixture.ts'

export interface PlannedRequest {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly token?: string
}

export interface Scenario {
  readonly name: string
  /** The ratio to PocketBase that is aimed at, direct. */
  readonly target: number
  /** Why it falls short where it does; shown only then. */
  readonly why?: string
  readonly connections?: number
  /** Changes collections before the scenario, at every contestant. */
  readonly setup?: { readonly collection: string; readonly change: Readonly<Record<string, unknown>> }
  readonly requests: readonly PlannedRequest[]
  /** Requests that can be sent only once (deletes): split over the rounds. */
  readonly once?: boolean
  readonly expect: Expectation
  /** What of the answers must be the same at all contestants: the body, or its members and their types. */
  readonly same: 'body' | 'shape' | 'bytes' | 'status'
  readonly writes?: boolean
}

/** Members whose tokens and ids take part, so that no request is the same all the time. */
const callers = 16
/** Of short requests. */
const oneThread =
  'one thread does all of it, where PocketBase uses every core that the load leaves it; of the 25 us that a view takes there, ' +
  'a third is the socket and a tenth the log entry, which another process inserts'
const oneClient =
  'a single client waits for each step in turn: through the fleet two more processes wake up, and the cores are shared'

const targetOf = { read: 4, ruled: 2, write: 2, bcrypt: 0.9 }

/** Everything but realtime, which is no request and answer. @param tokens of the first members; valid everywhere. */
export function scenarios(size: FixtureSize, tokens: readonly string[]): Scenario[] {
  const list = (collection: string, query: string, token?: string): PlannedRequest => ({
    method: 'GET',
    path: `/api/collections/${collection}/records?perPage=30${query}`,
    ...(token !== undefined && { token }),
  })
  const forCallers = (make: (token: string, index: number) => PlannedRequest) => tokens.map(make)
  const page: Expectation = { status: '200', contains: '"perPage":30' }
  const rule = (collection: string, listRule: string) => ({ setup: { collection, change: { listRule } } })
  const spread = <T>(count: number, of: number, make: (index: number) => T): T[] =>
    Array.from({ length: Math.min(count, of) }, (_, i) => make(Math.floor((i * of) / Math.min(count, of))))
  const body = (i: number) => ({
    title: `written ${i}`,
    description: '<p>lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod</p>',
    public: true,
    n: i,
    type: ['a', 'd'],
    author: idOf('members', i % size.members),
    owner: idOf('members', i % size.members),
  })
  const updates = (table: string, count: number) =>
    spread(count, table === 'posts10k' ? size.posts : size.manyPosts, (i) => ({
      method: 'PATCH',
      path: `/api/collections/${table}/records/${idOf(table, i)}`,
      body: { title: `changed ${i}` },
    }))
  const encode = encodeURIComponent
  const read = { target: targetOf.read, expect: page, same: 'body', why: oneThread } as const
  const ruled = { target: targetOf.ruled, expect: page, same: 'body' } as const
  const write = { target: targetOf.write, same: 'shape', writes: true } as const

  return [
    {
      ...read,
      name: 'view',
      expect: { status: '200', contains: '"title":' },
      requests: spread(500, size.posts, (i) => ({
        method: 'GET',
        path: `/api/collections/posts10k/records/${idOf('posts10k', i)}`,
      })),
    },
    {
      ...read,
      name: 'list of 30 of 10k, one client',
      why: oneClient,
      connections: 1,
      requests: [list('posts10k', '')],
    },
    { ...read, name: 'list of 30 of 10k, total', requests: [list('posts10k', '')] },
    { ...read, name: 'list of 30 of 10k, no total', requests: [list('posts10k', '&skipTotal=1')] },
    { ...read, name: 'list of 30 of 100k, total', requests: [list('posts100k', '')] },
    { ...read, name: 'list of 30 of 100k, no total', requests: [list('posts100k', '&skipTotal=1')] },
    {
      ...read,
      name: 'list, 3 fields',
      requests: [list('posts10k', '&skipTotal=1&fields=id,title,description:excerpt(40,true)')],
    },
    {
      ...ruled,
      name: 'filter, indexed, 100k, total',
      requests: spread(callers, size.members, (i) =>
        list('posts100k', `&filter=${encode(`author='${idOf('members', i)}'`)}`),
      ),
    },
    {
      ...ruled,
      name: 'filter, text scan, 10k, total',
      requests: [list('posts10k', `&filter=${encode(`description~'${rarePhrase}'`)}`)],
    },
    {
      ...ruled,
      name: 'filter, text scan, 100k, total',
      requests: [list('posts100k', `&filter=${encode(`description~'${rarePhrase}'`)}`)],
    },
    {
      ...ruled,
      name: 'filter, each of a select, 10k, total',
      requests: [list('posts10k', `&filter=${encode("type:each!='c'")}`)],
    },
    {
      ...ruled,
      name: 'rule, signed in, 10k, total',
      ...rule('posts10k', "@request.auth.id != ''"),
      requests: forCallers((token) => list('posts10k', '', token)),
    },
    {
      ...ruled,
      name: 'rule, author, indexed, 10k, total',
      ...rule('posts10k', 'author = @request.auth.id'),
      requests: forCallers((token) => list('posts10k', '', token)),
    },
    {
      ...ruled,
      name: 'rule, author, indexed, 100k, total',
      ...rule('posts100k', 'author = @request.auth.id'),
      requests: forCallers((token) => list('posts100k', '', token)),
    },
    {
      ...ruled,
      name: 'rule, owner, no index, 100k, total',
      ...rule('posts100k', 'owner = @request.auth.id'),
      requests: forCallers((token) => list('posts100k', '', token)),
    },
    {
      ...ruled,
      name: 'rule, owner, no index, 100k, no total',
      ...rule('posts100k', 'owner = @request.auth.id'),
      requests: forCallers((token) => list('posts100k', '&skipTotal=1', token)),
    },
    {
      ...ruled,
      name: 'rule, nested relation, 10k, no total',
      ...rule('posts10k', `author.organization.id != '${idOf('organizations', organizations)}'`),
      requests: forCallers((token) => list('posts10k', '&skipTotal=1', token)),
    },
    {
      ...ruled,
      name: 'rule, nested multi-relation, 10k, no total',
      ...rule('posts10k', 'author.permissions.active ?= true'),
      requests: forCallers((token) => list('posts10k', '&skipTotal=1', token)),
    },
    {
      ...ruled,
      name: 'rule, nested multi-relation, match all, 10k, total',
      ...rule('posts10k', 'author.permissions.active = true'),
      requests: forCallers((token) => list('posts10k', '', token)),
    },
    {
      ...read,
      name: 'expand, two levels',
      why: 'four statements and some 200 records of JSON an answer, on one thread; PocketBase makes them on every core',
      ...rule('posts10k', ''),
      requests: [list('posts10k', '&skipTotal=1&expand=author.organization,author.permissions')],
    },
    {
      name: 'file of 64 KiB',
      target: 1,
      why: 'the bytes cross two sockets more, and are copied at each',
      expect: { status: '200' },
      same: 'bytes',
      requests: [{ method: 'GET', path: `/api/files/${documentsId}/${idOf('documents', 0)}/${fileName}` }],
    },
    {
      ...write,
      name: 'auth-refresh',
      target: targetOf.write,
      expect: { status: '200', contains: '"token":' },
      requests: forCallers((token) => ({ method: 'POST', path: '/api/collections/members/auth-refresh', token })),
    },
    {
      ...write,
      name: 'auth-with-password (bcrypt)',
      why: 'one bcrypt comparison of equal cost on either side; what differs is who else runs on the machine',
      target: targetOf.bcrypt,
      connections: 10,
      expect: { status: '200', contains: '"token":' },
      requests: spread(callers, size.members, (i) => ({
        method: 'POST',
        path: '/api/collections/members/auth-with-password',
        body: { identity: `member${i}@example.com`, password: memberPassword },
      })),
    },
    {
      ...write,
      name: 'create, one client',
      why: oneClient,
      connections: 1,
      expect: { status: '200', contains: '"title":"written ' },
      requests: spread(callers, 1_000, (i) => ({
        method: 'POST',
        path: '/api/collections/written/records',
        body: body(i),
      })),
    },
    {
      ...write,
      name: 'create',
      expect: { status: '200', contains: '"title":"written ' },
      requests: spread(callers, 1_000, (i) => ({
        method: 'POST',
        path: '/api/collections/written/records',
        body: body(i),
      })),
    },
    {
      ...write,
      name: 'create, ruled',
      setup: {
        collection: 'written',
        change: { createRule: "@request.auth.id != '' && @request.body.public:isset = true" },
      },
      expect: { status: '200', contains: '"title":"written ' },
      requests: forCallers((token, i) => ({
        method: 'POST',
        path: '/api/collections/written/records',
        body: body(i),
        token,
      })),
    },
    {
      ...write,
      name: 'update, 10k',
      expect: { status: '200', contains: '"title":"changed ' },
      requests: updates('posts10k', 500),
    },
    {
      ...write,
      name: 'update, 100k',
      setup: { collection: 'posts100k', change: { listRule: '' } },
      expect: { status: '200', contains: '"title":"changed ' },
      requests: updates('posts100k', 500),
    },
    {
      ...write,
      name: 'mixed: 3 lists with total of 10k, 1 update',
      expect: { status: '200' },
      requests: updates('posts10k', 100).flatMap((update) => [
        ...Array.from({ length: 3 }, () => list('posts10k', '')),
        update,
      ]),
    },
    {
      ...write,
      name: `delete, cascade of 5`,
      once: true,
      expect: { status: '204' },
      same: 'status',
      requests: Array.from({ length: size.threads }, (_, i) => ({
        method: 'DELETE',
        path: `/api/collections/threads/records/${idOf('threads', i)}`,
      })),
    },
  ]
}

/** Tokens of the first members. They hold at every contestant: secrets and token keys came with the data. */
export async function memberTokens(contestant: Contestant, size: FixtureSize): Promise<string[]> {
  const tokens: string[] = []
  for (let i = 0; i < Math.min(callers, size.members); i++)
    tokens.push(await signIn(contestant, 'members', `member${i}@example.com`, memberPassword))
  return tokens
}

/** Makes the change of a scenario at one contestant. */
export async function setUp(contestant: Contestant, { setup }: Scenario): Promise<void> {
  if (setup === undefined) return
  const token = await signInSuperuser(contestant)
  await callApi(contestant, 'PATCH', `/api/collections/${setup.collection}`, { token, body: setup.change })
}

/** The answer to one request, made comparable; what every contestant must agree on. Throws for a wrong status. */
export async function answerOf(contestant: Contestant, scenario: Scenario, request: PlannedRequest): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${contestant.port}${request.path}`, {
    method: request.method,
    headers: {
      host: contestant.hostName,
      ...(request.token && { authorization: request.token }),
      ...(request.body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(request.body !== undefined && { body: JSON.stringify(request.body) }),
  })
  const text = await answer.text()
  if (String(answer.status) !== scenario.expect.status)
    throw new Error(`${contestant.name}, ${scenario.name}: ${answer.status} ${text.slice(0, 500)}`)
  switch (scenario.same) {
    case 'body':
      return JSON.stringify(JSON.parse(text))
    case 'shape':
      return JSON.stringify(shapeOf(JSON.parse(text)))
    case 'bytes':
      if (text.length !== fileBytes) throw new Error(`${contestant.name}: ${text.length} bytes`)
      return String(Bun.hash(text))
    case 'status':
      return String(answer.status)
  }
}

/** Members and the types of their values. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf)
  if (typeof value !== 'object' || value === null) return typeof value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, shapeOf(each)]))
}
