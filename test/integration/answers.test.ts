// Goal: details of answers that clients of PocketBase see and no other test looks at.
// Method: one server; the expected texts were read off PocketBase v0.39.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { newAuthToken } from '../../src/node/engine/auth/tokens.ts'
import { EngineRecord } from '../../src/node/engine/records/record.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

let server: Standalone
let token = ''
let rootId = ''

async function ask(method: string, path: string, body?: unknown) {
  const init = body === undefined ? {} : { body: JSON.stringify(body) }
  const headers = { 'content-type': 'application/json', authorization: token }
  const response = await fetch(server.url + path, { method, headers, ...init })
  const text = await response.text()
  return {
    status: response.status,
    text,
    headers: response.headers,
    json: text.startsWith('{') ? JSON.parse(text) : {},
  }
}

beforeAll(async () => {
  server = await startStandalone()
  const root = EngineRecord.blank(server.engine.collections.require('_superusers'))
  root.set('email', 'root@example.com')
  root.set('password', '1234567890')
  await server.engine.records.save(root)
  rootId = root.id
  token = newAuthToken(root, server.engine.clock.now())
  const fields = [
    { name: 'title', type: 'text' },
    { name: 'data', type: 'json' },
    { name: 'pin', type: 'password', hidden: true },
  ]
  expect((await ask('POST', '/api/collections', { name: 'notes', type: 'base', fields })).status).toBe(200)
  expect((await ask('PATCH', '/api/settings', { batch: { enabled: true, maxRequests: 5 } })).status).toBe(200)
})
afterAll(() => server.stop())

const blank = { code: 'validation_required', message: 'Cannot be blank.' }
const notInList = { code: 'validation_in_invalid', message: 'Must be a valid value.' }
const tooLong = (max: number) => ({
  code: 'validation_length_too_long',
  message: `The length must be no more than ${max}.`,
  params: { max, min: 0 },
})

test('a batch is refused as a whole, before its first part, with the errors of each part', async () => {
  const create = { method: 'POST', url: '/api/collections/notes/records', body: { title: 'x' } }
  const requests = [create, {}, { method: 'post', url: '/x' }, { method: 'POST', url: `/${'a'.repeat(2_000)}` }]
  const answer = await ask('POST', '/api/batch', { requests })
  expect(answer.status).toBe(400)
  expect(answer.json).toEqual({
    data: { requests: { 1: { method: blank, url: blank }, 2: { method: notInList }, 3: { url: tooLong(2_000) } } },
    message: 'Invalid batch request data.',
    status: 400,
  })
  expect((await ask('GET', '/api/collections/notes/records')).json.totalItems).toBe(0)
})

test('a batch has at least one part and no more than the settings allow', async () => {
  const over = await ask('POST', '/api/batch', { requests: Array.from({ length: 6 }, () => ({})) })
  expect(over.json.data).toEqual({ requests: tooLong(5) })
  expect((await ask('POST', '/api/batch', { requests: [] })).json.data).toEqual({ requests: blank })
})

test('too many topics of one realtime client are told with their limit', async () => {
  const subscriptions = Array.from({ length: 1_001 }, (_, i) => `topic${i}`)
  const answer = await ask('POST', '/api/realtime', { clientId: 'x', subscriptions })
  expect(answer.json.data).toEqual({ subscriptions: tooLong(1_000) })
})

test('the only superuser stays, and the answer says why', async () => {
  const answer = await ask('DELETE', `/api/collections/_superusers/records/${rootId}`)
  expect(answer.status).toBe(400)
  expect(answer.json.message).toBe("You can't delete the only existing superuser.")
})

test('records of a collection that is missing', async () => {
  for (const method of ['GET', 'DELETE']) {
    const answer = await ask(method, `/api/collections/missing/records${method === 'GET' ? '' : '/x'}`)
    expect(answer.status).toBe(404)
    expect(answer.json.message).toBe('Missing collection context.')
  }
})

test('JSON that was not given is NULL in the table, and null in answers', async () => {
  const unset = await ask('POST', '/api/collections/notes/records', { title: 'unset' })
  const asNull = await ask('POST', '/api/collections/notes/records', { title: 'null', data: null })
  const asText = await ask('POST', '/api/collections/notes/records', { title: 'text', data: 'null' })
  for (const { json } of [unset, asNull, asText]) expect(json.data).toBeNull()
  const query = 'SELECT title, typeof(data) AS kind FROM notes ORDER BY title'
  const answer = await ask('POST', '/api/sql', { query })
  expect(answer.status, answer.text).toBe(200)
  const rows = answer.json.rows as [string, string][]
  expect(Object.fromEntries(rows)).toEqual({ unset: 'null', null: 'null', text: 'text' })
})

test('superusers see that a hidden password of a plain collection is there, never what it is', async () => {
  const { json, text } = await ask('POST', '/api/collections/notes/records', { title: 'pin', pin: '12345678' })
  expect(json.pin).toBe('')
  expect(text).not.toContain('12345678')
})

test('a password that bcrypt cannot take is named to superusers alone when a record is created', async () => {
  const path = '/api/collections/safes/records'
  const fields = [{ name: 'pin', type: 'password' }]
  expect((await ask('POST', '/api/collections', { name: 'safes', fields, createRule: '' })).status).toBe(200)
  const long = { pin: 'x'.repeat(73) }
  const named = { pin: { code: 'validation_invalid_value', message: 'Invalid value.' } }
  expect((await ask('POST', path, long)).json.data).toEqual(named)
  const guest = await fetch(server.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(long),
  })
  expect(await guest.json()).toEqual({ data: {}, message: 'Failed to create record.', status: 400 })
})

test('the script of the extensions of the dashboard is empty', async () => {
  const answer = await ask('GET', '/_/extensions.js')
  expect([answer.status, answer.text]).toEqual([200, ''])
  expect(answer.headers.get('content-type')).toBe('text/javascript')
})

test('settings by form: fields by group and member in the kind of what is there, then the JSON beside them', async () => {
  const send = async (fields: Readonly<Record<string, string>>) => {
    const body = new FormData()
    for (const [name, value] of Object.entries(fields)) body.append(name, value)
    const init = { method: 'PATCH', headers: { authorization: token }, body }
    const response = await fetch(`${server.url}/api/settings`, init)
    return {
      status: response.status,
      json: (await response.json()) as { [group: string]: { [member: string]: unknown } },
    }
  }
  const payload = '{"meta":{"senderName":"Payload"},"logs":{"maxDays":2}}'
  const { json } = await send({
    'meta.appName': '1.0',
    'logs.maxDays': '9',
    'logs.logIP': 'T',
    '@jsonPayload': payload,
  })
  expect(json['meta']).toMatchObject({ appName: '1.0', senderName: 'Payload' })
  expect(json['logs']).toMatchObject({ maxDays: 2, logIP: true })
  // Names that are no member are nothing, kinds that do not fit are refused.
  for (const ignored of ['meta', 'logs.nothing', 'logs.maxDays.more', 'superuserIPs.0'])
    expect([ignored, (await send({ [ignored]: 'x' })).status]).toEqual([ignored, 200])
  for (const refused of ['{"logs":3}', '{"superuserIPs":"127.0.0.1"}', '[]'])
    expect([refused, (await send({ '@jsonPayload': refused })).status]).toEqual([refused, 400])
  expect((await send({ 'logs.maxDays': '7.5' })).status).toBe(400)
  expect((await send({ 'logs.logIP': 'yes' })).status).toBe(400)
})

test('a view whose column was renamed expands to nothing, and holds up the fields of other views until it is mended', async () => {
  const { json: target } = await ask('POST', '/api/collections', { name: 'targets', type: 'base' })
  const relation = { id: 'relation1', name: 'target', type: 'relation', collectionId: target.id, maxSelect: 5 }
  const make = (name: string, more: Record<string, unknown>) => ask('POST', '/api/collections', { name, ...more })
  await make('sources', { type: 'base', fields: [relation] })
  await make('others', { type: 'base', fields: [{ ...relation, id: 'relation2' }] })
  await make('kept', { type: 'view', viewQuery: 'SELECT id, target FROM sources' })
  await make('broken', { type: 'view', viewQuery: 'SELECT id, target FROM others' })
  await ask('POST', '/api/collections/targets/records', { id: 'target000000001' })
  await ask('POST', '/api/collections/sources/records', { target: ['target000000001'] })
  const shown = async () => (await ask('GET', '/api/collections/kept/records')).json.items[0].target
  const change = async (name: string, body: unknown) =>
    expect((await ask('PATCH', `/api/collections/${name}`, body)).status).toBe(200)
  await change('others', { fields: [{ ...relation, id: 'relation2', name: 'goal' }] })
  const expanded = await ask('GET', '/api/collections/targets/records?expand=broken_via_target')
  expect([expanded.status, expanded.json.totalItems]).toEqual([200, 1])
  await change('sources', { fields: [{ ...relation, maxSelect: 1 }] })
  expect(await shown()).toEqual(['target000000001'])
  await change('broken', { viewQuery: 'SELECT id, goal FROM others' })
  expect(await shown()).toBe('target000000001')
})

test('what is read outside the API is a file that is not there', async () => {
  const missingFile = { data: {}, message: 'File not found.', status: 404 }
  for (const path of ['/x.txt', '/api', '/api/batch', '/api/health/'])
    expect((await ask('GET', path)).json).toEqual(missingFile)
  expect((await ask('POST', '/x.txt')).json.message).toBe("The requested resource wasn't found.")
})

test('deleting a backup that is not there, or cannot be, is refused with its key', async () => {
  for (const [path, key] of [
    ['missing.zip', 'missing.zip'],
    ['a%2fb.zip', 'a/b.zip'],
    ['..%2fdata.db', '../data.db'],
  ]) {
    const { status, json } = await ask('DELETE', `/api/backups/${path}`)
    expect(status).toBe(400)
    expect(json.message).toStartWith(`Invalid or already deleted backup file. Raw error: \n[key: ${key}] remove `)
    expect(json.message).toEndWith('\nresource not found.')
  }
})

test('an import names the collection that failed, and takes no collection twice', async () => {
  const failureOf = async (collections: readonly unknown[]) => {
    const { status, json } = await ask('PUT', '/api/collections/import', { collections })
    expect(status).toBe(400)
    return json.data.collections.message as string
  }
  const failed = 'Failed to import the collections configuration. Raw error:\n'
  const taken = 'constraint failed: UNIQUE constraint failed: _collections'
  expect(await failureOf([{ name: 'aa' }, { name: 'aa' }])).toBe(
    `${failed}failed to save collection "aa": ${taken}.name (2067).`,
  )
  expect(
    await failureOf([
      { id: 'one', name: 'aa' },
      { id: 'one', name: 'bb' },
    ]),
  ).toBe(`${failed}failed to save collection "bb": ${taken}.id (1555).`)
  expect(
    await failureOf([
      { id: 'one', name: 'aa' },
      { id: 'two', name: 'aa' },
    ]),
  ).toBe(`${failed}failed to save collection "aa": ${taken}.name (2067).`)
  expect(await failureOf([{ name: 'aa', type: 'nope' }])).toContain('"type": "must be a valid value"')
  expect(await failureOf([null])).toContain('"name": "cannot be blank"')
  expect(await failureOf([{ name: 'aa', fields: [{ type: 'nope', name: 'q' }] }])).toBe(
    `${failed}missing or unknown field type in {"name":"q","type":"nope"}.`,
  )
  const providers = [{ name: 'nope' }]
  const provider = await failureOf([{ name: 'aa', type: 'auth', oauth2: { enabled: true, providers } }])
  expect(provider.indexOf('clientId')).toBeLessThan(provider.indexOf('"name"'))
  expect((await ask('GET', '/api/collections/aa')).status).toBe(404)
})

test('an import takes names in any case, and tells what a collection of another type would lack', async () => {
  const body = { Collections: [{ Name: 'cased', Fields: [{ TYPE: 'text', Name: 'title' }] }] }
  expect((await ask('PUT', '/api/collections/import', body)).status).toBe(204)
  const { json } = await ask('GET', '/api/collections/cased')
  expect((json.fields as { name: string }[]).map((field) => field.name)).toEqual(['id', 'title'])
  const refused = await ask('PUT', '/api/collections/import', { collections: [{ name: 'cased', type: 'auth' }] })
  expect(refused.json.data.collections.message).toContain('"type": "Collection type cannot be changed."')
})

test('the SQL console has nothing to say of an empty query but that', async () => {
  const { json } = await ask('POST', '/api/sql', { query: '  ' })
  expect(json.message).toBe('Failed to execute query. Raw error:\nempty query.')
})

test('half of a surrogate pair is the replacement character', async () => {
  const response = await fetch(`${server.url}/api/collections/notes/records?fields=title,data`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: token },
    body: '{"title":"a\\ud800b","data":{"x":"\\udc00"}}',
  })
  expect(await response.json()).toEqual({ title: 'a\ufffdb', data: { x: '\ufffd' } })
})

test('a text for a json field is quoted as Go quotes, which control characters do not survive', async () => {
  const create = (data: unknown) => ask('POST', '/api/collections/notes/records', { data })
  for (const text of ['\u0007', 'a\u007f', '\u{e0001}'])
    expect((await create(text)).json.data.data.code).toBe('validation_invalid_json')
  expect((await create('\t "x" é 😀')).json.data).toBe('\t "x" é 😀')
  expect((await create({ x: '\u0007' })).json.data).toEqual({ x: '\u0007' })
})

test('a form field keeps its byte order mark', async () => {
  const form = new FormData()
  form.set('title', '\ufeffx')
  const headers = { authorization: token }
  const address = `${server.url}/api/collections/notes/records?fields=title`
  const response = await fetch(address, { method: 'POST', headers, body: form })
  expect(await response.json()).toEqual({ title: '\ufeffx' })
})

test('a record that hangs on nobody is told all that it lacks', async () => {
  const { json } = await ask('POST', '/api/collections/_externalAuths/records', {})
  expect(Object.keys(json.data)).toEqual(['collectionRef', 'provider', 'providerId', 'recordRef'])
})

test('pages are whole numbers of 64 bits', async () => {
  const list = (query: string) => ask('GET', `/api/collections/notes/records?${query}`)
  for (const query of ['page=9223372036854775807', 'perPage=9223372036854775807', 'page=-9223372036854775807'])
    expect((await list(query)).status).toBe(200)
  for (const query of ['page=9223372036854775808', 'page=1e3', 'perPage=1.5', 'skipTotal=yes'])
    expect((await list(query)).status).toBe(400)
})

test('a view whose query is no good says why', async () => {
  const reasonOf = async (query: string) => {
    const { json } = await ask('POST', '/api/collections/meta/dry-run-view', { query })
    return json.message.replace('Invalid view query. Raw error: \n', '')
  }
  expect(await reasonOf('select id, title as `a b` from notes')).toBe(
    'invalid field "a b" (1): name: must be in a valid format.',
  )
  expect(await reasonOf('select id, title as expand from notes')).toBe(
    'invalid field "expand" (1): name: must not be in list.',
  )
  expect(await reasonOf('select id, 1 in (1,2) i from notes')).toBe('invalid identifier parts [1 in (1,2) i].')
})

test('a tenant uploads two backups at once, and a third one when one of them has ended', async () => {
  const address = `${server.url}/api/backups/upload`
  const headers = { authorization: token, 'content-type': 'multipart/form-data; boundary=x' }
  const send = (body: string | ReadableStream<Uint8Array>) => fetch(address, { method: 'POST', headers, body })
  const ends: (() => void)[] = []
  const slow = Array.from({ length: 2 }, () => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n'))
        ends.push(() => {
          controller.enqueue(new TextEncoder().encode('b\r\n--x--\r\n'))
          controller.close()
        })
      },
    })
    return send(body)
  })
  await until('both are under way', async () => (await send('--x--')).status === 503)
  for (const end of ends) end()
  expect((await Promise.all(slow)).map(({ status }) => status)).toEqual([400, 400]) // no file came
  expect((await send('--x--')).status).toBe(400)
})

test('a collection takes the time of its making from who changes it, and providers of null for none', async () => {
  const change = (body: unknown) => ask('PATCH', '/api/collections/users', body)
  const provider = { name: 'google', clientId: 'a', clientSecret: 'b' }
  expect((await change({ oauth2: { providers: [provider] } })).json.oauth2.providers).toHaveLength(1)
  expect((await change({ oauth2: { providers: null } })).json.oauth2.providers).toEqual([])
  expect((await change({ created: '2020-01-02 03:04:05Z' })).json.created).toBe('2020-01-02 03:04:05.000Z')
  expect((await change({ created: 1 })).status).toBe(400)
})

test('JSON lists topics, and a schedule names what is no number', async () => {
  expect((await ask('POST', '/api/realtime', { clientId: 'x', subscriptions: 'a' })).status).toBe(400)
  const { json } = await ask('PATCH', '/api/settings', { backups: { cron: '* * * jan *' } })
  expect(json.data.backups.cron.message).toBe('Strconv.Atoi: parsing "jan": invalid syntax.')
})

test('whether something is set is a truth value in comparisons with texts', async () => {
  for (const title of ['', '5 apples']) await ask('POST', '/api/collections/notes/records', { title, data: 'isset' })
  const filter = encodeURIComponent('data = "isset" && title != @request.query.missing:isset')
  const { json } = await ask('GET', `/api/collections/notes/records?fields=title&filter=${filter}`)
  expect(json.items).toEqual([{ title: '5 apples' }])
})
