// Goal: what an admin does is on record with who, when, what and from where, survives a restart, is found by each filter,
// and holds no secret. Method: a real member and its HTTP API.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runCli } from '../support/fleet.ts'
import { openMember } from '../support/member.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const root = mkdtempSync(join(tmpdir(), 'pf-audit-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

interface Row {
  readonly id: number
  readonly created: string
  readonly actor: string
  readonly actorId: string | null
  readonly from: string
  readonly action: string
  readonly target: string
  readonly targetName: string
}

test('admins come and go on record', async () => {
  let token: string
  const call = async (
    url: string,
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ) => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, text, body: text === '' ? null : JSON.parse(text) }
  }
  let made: { id: string; token: string }
  {
    await using member = await openMember(join(root, 'cp'))
    token = member.firstAdminToken!
    const url = member.httpUrl
    const created = await call(
      url,
      'POST',
      '/api/cluster/admins',
      { email: 'two@fleet.test' },
      { 'x-forwarded-for': '198.51.100.7, 203.0.113.9' },
    )
    expect(created.status).toBe(201)
    made = created.body
    expect((await call(url, 'DELETE', `/api/cluster/admins/${made.id}`)).status).toBe(204)
    // What is refused is not done, and not on record.
    expect((await call(url, 'DELETE', `/api/cluster/admins/${made.id}`)).status).toBe(404)
    expect((await call(url, 'POST', '/api/cp/nodes/none/drain')).status).toBe(404)
    expect((await fetch(`${url}/api/cluster/audit`)).status).toBe(401)
  }
  await using member = await openMember(join(root, 'cp'))
  const url = member.httpUrl
  const list = async (query = '') => {
    const { body } = await call(url, 'GET', `/api/cluster/audit?${query}`)
    return body as { totalItems: number; items: Row[] }
  }
  const { items, totalItems } = await list()
  expect(totalItems).toBe(3)
  expect(items.map(({ action, actor, targetName }) => [action, actor, targetName])).toEqual([
    ['admin.delete', 'root@fleet.test', 'two@fleet.test'],
    ['admin.create', 'root@fleet.test', 'two@fleet.test'],
    ['admin.create', 'system', 'root@fleet.test'],
  ])
  expect(items[0]!.from).toBe('127.0.0.1')
  expect(items[1]!.from).toBe('203.0.113.9 by 127.0.0.1')
  const all = (await call(url, 'GET', '/api/cluster/audit')).text
  for (const secret of [token!, made.token, token!.slice(6), made.token.slice(6)]) expect(all).not.toContain(secret)

  const ids = async (query: string) => (await list(query)).items.map(({ id }) => id)
  expect(await ids('actor=system')).toEqual([1])
  expect(await ids('actor=root%40fleet.test')).toEqual([3, 2])
  expect(await ids('action=admin')).toEqual([3, 2, 1])
  expect(await ids('action=admin.delete')).toEqual([3])
  expect(await ids('action=adm')).toEqual([])
  expect(await ids(`target=${made.id}`)).toEqual([3, 2])
  expect(await ids('target=two%40fleet.test&action=admin.create')).toEqual([2])
  expect(await ids('from=2100-01-01T00:00:00Z')).toEqual([])
  expect(await ids('to=2100-01-01T00:00:00Z&perPage=1&page=2')).toEqual([2])
  expect((await call(url, 'GET', '/api/cluster/audit?from=yesterday')).status).toBe(400)

  const env = { POCKETFLEET_URL: url, POCKETFLEET_TOKEN: token! }
  const listed = JSON.parse(await runCli('source', ['audit', '--action=admin.delete', '--json'], env)) as Row[]
  expect(listed.map(({ id }) => id)).toEqual([3])
  const lines = (await runCli('source', ['audit', '--all', '--json'], env)).trim().split('\n')
  expect(lines.map((line) => (JSON.parse(line) as Row).id)).toEqual([3, 2, 1])
  expect(await runCli('source', ['audit', '--limit=1'], env)).toContain('two@fleet.test')
})
