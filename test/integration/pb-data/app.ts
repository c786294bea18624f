// An app with everything that a `pb_data` can hold, made over HTTP so that any compatible server can be its origin, and
// what a client sees of it afterwards.

import { expect } from 'bun:test'
import type PocketBase from 'pocketbase'
import { newClient, password, picture, signedIn } from '../sdk/world.ts'

export interface App {
  readonly recordIds: readonly string[]
  /** `collection/record/name`; the first two belong to the first record. */
  readonly files: readonly string[]
  /** Of a person, given out by the server that made the app. */
  readonly token: string
  readonly userId: string
}

export interface Seen {
  readonly collections: readonly Record<string, unknown>[]
  readonly records: Readonly<Record<string, readonly unknown[]>>
  readonly settings: unknown
  /** Base64 by address. */
  readonly files: Readonly<Record<string, string>>
  readonly own: unknown
}

const email = 'person@example.com'
const open = { listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: '' }

/** Writes the app as the superuser of `sdk/world.ts`. */
export async function makeApp(url: string): Promise<App> {
  const root = await signedIn(url)
  await root.settings.update({
    meta: { appName: 'Travelling "app" <1>', senderName: 'Ä' },
    logs: { maxDays: 2 },
    batch: { enabled: true },
    rateLimits: { enabled: false, rules: [{ label: 'everything:list', duration: 5, maxRequests: 9 }] },
  })
  await makeCollections(root)
  const user = { email, password, passwordConfirm: password, nick: 'P', emailVisibility: false }
  const person = await root.collection('people').create({ ...user, verified: true, avatar: picture() })
  await root.collection('people').create({ ...user, email: 'second@example.com', nick: 'Q' })
  const recordIds: string[] = []
  const files: string[] = []
  for (let i = 0; i < 4; i++) {
    const record = await root.collection('everything').create(recordOf(i, person.id, recordIds))
    recordIds.push(record.id)
    for (const name of record['files'] as string[]) files.push(`everything/${record.id}/${name}`)
  }
  const made = await newClient(url).collection('people').authWithPassword(email, password)
  // Thumbs are kept beside their file; both servers must live with the other's.
  await fetch(`${url}/api/files/people/${person.id}/${person['avatar']}?thumb=100x100`)
  return { recordIds, files, token: made.token, userId: person.id }
}

async function makeCollections(root: PocketBase): Promise<void> {
  const people = await root.collections.create({
    ...open,
    name: 'people',
    type: 'auth',
    createRule: null,
    manageRule: '@request.auth.nick = "boss"',
    authRule: 'verified = true',
    fields: [
      { name: 'nick', type: 'text', required: true },
      { name: 'avatar', type: 'file', maxSelect: 1 },
    ],
    indexes: ['CREATE UNIQUE INDEX `idx_nick` ON `people` (`nick` COLLATE NOCASE)'],
    passwordAuth: { enabled: true, identityFields: ['email', 'nick'] },
    otp: { enabled: true, duration: 100, length: 7 },
    authToken: { duration: 3_600 },
    oauth2: {
      enabled: true,
      providers: [{ name: 'google', clientId: 'id', clientSecret: 'secret' }],
      mappedFields: { name: 'nick' },
    },
    verificationTemplate: { subject: 'Hello {APP_NAME}', body: '<p>{APP_URL}/{TOKEN}</p>' },
  })
  const everything = await root.collections.create({
    ...open,
    name: 'everything',
    type: 'base',
    fields: [
      { name: 'title', type: 'text', required: true, min: 1, max: 50, help: 'A "title"' },
      { name: 'plain', type: 'text', autogeneratePattern: 'p-[a-z]{8}' },
      { name: 'rich', type: 'editor', maxSize: 5_000, convertURLs: true },
      { name: 'number', type: 'number', min: -5, max: 1_000_000 },
      { name: 'whole', type: 'number', onlyInt: true },
      { name: 'flag', type: 'bool' },
      { name: 'email', type: 'email', exceptDomains: ['example.org'] },
      { name: 'url', type: 'url' },
      { name: 'at', type: 'date', min: '2000-01-01 00:00:00.000Z' },
      { name: 'one', type: 'select', maxSelect: 1, values: ['a', 'b'] },
      { name: 'some', type: 'select', maxSelect: 2, values: ['x', 'y', 'z'] },
      { name: 'files', type: 'file', maxSelect: 5, maxSize: 1_000_000, thumbs: ['10x10'] },
      { name: 'secret', type: 'file', maxSelect: 1, protected: true },
      { name: 'person', type: 'relation', collectionId: people.id, maxSelect: 1, cascadeDelete: true },
      { name: 'data', type: 'json', maxSize: 2_000 },
      { name: 'place', type: 'geoPoint' },
      { name: 'hiddenText', type: 'text', hidden: true },
      { name: 'created', type: 'autodate', onCreate: true },
      { name: 'updated', type: 'autodate', onCreate: true, onUpdate: true, presentable: true },
    ],
    indexes: [
      'CREATE INDEX `idx_everything_number` ON `everything` (`number` DESC, `flag`)',
      "CREATE UNIQUE INDEX idx_everything_title ON everything (title) WHERE title != 'x'",
    ],
  })
  await root.collections.update('everything', {
    listRule: '@request.auth.id != "" || title != "" // comment',
    fields: [...everything.fields, { name: 'others', type: 'relation', collectionId: everything.id, maxSelect: 3 }],
  })
  await root.collections.create({
    name: 'overview',
    type: 'view',
    listRule: '',
    viewRule: '',
    viewQuery:
      'SELECT e.id, e.title, e.files, e.data, p.nick, count(o.id) AS total, (e.number * 2) AS doubled ' +
      'FROM everything e LEFT JOIN people p ON p.id = e.person LEFT JOIN everything o ON o.person = p.id GROUP BY e.id',
  })
}

function recordOf(index: number, personId: string, earlier: readonly string[]): Record<string, unknown> {
  return {
    title: `record ${index} – "ä" <b>`,
    rich: `<p>${index} <a href="/x">y</a></p>`,
    number: [0, -1.5, 1e5, 0.1][index],
    whole: index,
    flag: index % 2 === 0,
    email: index === 0 ? '' : 'mail@example.com',
    url: 'https://example.com/?a=b&c',
    at: index === 0 ? '' : '2024-02-29 12:30:00.5Z',
    one: ['a', '', 'b', 'a'][index],
    some: [[], ['x'], ['z', 'y'], ['y']][index],
    files: [new File([`first of ${index}`], 'first.txt'), picture(`second ${index}.png`)],
    secret: index === 1 ? new File(['hidden'], 'hidden.bin') : '',
    person: index === 3 ? '' : personId,
    others: earlier.slice(-2),
    data: [null, { a: [1, 2.5, '<x>'], b: null }, [1, 'two'], 'text'][index],
    place: { lon: index * 10.5, lat: -index },
    hiddenText: `unseen ${index}`,
  }
}

/** Everything that clients and superusers can read. */
export async function see(url: string, app: App): Promise<Seen> {
  const root = await signedIn(url)
  const collections = await root.collections.getFullList({ sort: 'name' })
  const records: Record<string, readonly unknown[]> = {}
  for (const { name } of collections) {
    // Each sign-in of the superuser may leave a mark there.
    if (name === '_authOrigins') continue
    const isView = name === 'overview'
    records[name] = await root.collection(name).getFullList({ sort: 'id', ...(!isView && { expand: 'person,others' }) })
  }
  const files: Record<string, string> = {}
  for (const path of app.files) {
    const answer = await fetch(`${url}/api/files/${path}`)
    expect([path, answer.status]).toEqual([path, 200])
    files[path] = `${answer.headers.get('content-type')} ${(await answer.bytes()).toBase64()}`
  }
  // A token that is out keeps working, whoever signed it.
  const person = newClient(url)
  person.authStore.save(app.token, null)
  const own = await person.collection('people').getOne(app.userId)
  expect(own).toMatchObject({ email })
  return {
    collections: collections as unknown as Record<string, unknown>[],
    records,
    settings: await root.settings.getAll(),
    files,
    own,
  }
}

/** Passwords and refreshes work, and the avatar with its thumb is there. */
export async function signInAgain(url: string, app: App): Promise<void> {
  const client = newClient(url)
  for (const identity of [email, 'p']) {
    const { record } = await client.collection('people').authWithPassword(identity, password)
    expect(record.id).toBe(app.userId)
  }
  client.authStore.save(app.token, null)
  const { record } = await client.collection('people').authRefresh()
  const thumb = await fetch(client.files.getURL(record, record['avatar'], { thumb: '100x100' }))
  expect([thumb.status, thumb.headers.get('content-type')]).toEqual([200, 'image/png'])
}
