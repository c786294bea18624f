// Goal: every chain stands around its operation: handlers run in order, may change what is done, may stop it or answer
// themselves, and what they throw is the answer. Method: handlers bound to the engine of a real server, requests from
// the official SDK.

import { afterAll, beforeAll, beforeEach, expect, setDefaultTimeout, test } from 'bun:test'
import { EventSource } from 'eventsource'
import PocketBase, { type CollectionModel, type RecordModel } from 'pocketbase'
import { badRequest } from '../../src/node/api/error-map.ts'
import { newEmailChangeToken, newPasswordResetToken, newVerificationToken } from '../../src/node/engine/auth/tokens.ts'
import type { Chains } from '../../src/node/engine/chains.ts'
import { RefusedError, ValidationFailed } from '../../src/node/engine/errors.ts'
import type { HookChain } from '../../src/node/engine/hook-chain.ts'
import type { EngineRecord } from '../../src/node/engine/records/record.ts'
import { saveUser, setAuthOptions } from '../support/engine.ts'
import { type MailServer, startMailServer } from '../support/mail-server.ts'
import { startOidcProvider } from '../support/oidc-provider.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

let server: Standalone
let mails: MailServer
let client: PocketBase
let notes: string
const unbind: (() => void)[] = []

/** Binds a handler for this test. */
function on<Name extends keyof Chains>(
  name: Name,
  handle: (event: Chains[Name] extends HookChain<infer E> ? E : never) => unknown,
  options: { readonly id?: string; readonly priority?: number; readonly tags?: readonly string[] } = {},
): void {
  const chain = server.engine.chains[name] as unknown as {
    bind(handler: { id: string; handle: (event: never) => unknown }): () => void
  }
  unbind.push(chain.bind({ id: options.id ?? `test-${unbind.length}`, ...options, handle }))
}

beforeAll(async () => {
  Object.assign(globalThis, { EventSource }) // the SDK's documentation asks for this polyfill
  server = await startStandalone()
  mails = await startMailServer()
  const { engine } = server
  await saveUser(engine, '_superusers', { email: 'root@example.com', password: 'a-long-password' })
  client = new PocketBase(server.url)
  client.autoCancellation(false)
  await client.collection('_superusers').authWithPassword('root@example.com', 'a-long-password')
  await client.settings.update({
    smtp: { enabled: true, host: '127.0.0.1', port: mails.port },
    batch: { enabled: true, maxRequests: 10, timeout: 3 },
  })
  await client.collections.create({
    name: 'notes',
    type: 'base',
    listRule: '',
    viewRule: '',
    fields: [
      { name: 'title', type: 'text' },
      { name: 'file', type: 'file', maxSelect: 1 },
    ],
  })
  await setAuthOptions(engine, 'users', { otp: { ...engine.collections.require('users').auth.otp, enabled: true } })
  await saveUser(engine, 'users', { email: 'user@example.com', password: 'a-long-password' })
})
afterAll(async () => {
  await mails.stop()
  await server.stop()
})
beforeEach(async () => {
  for (const each of unbind.splice(0)) each()
  notes = (await client.collection('notes').create({ title: 'first' })).id
})

const failure = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error) => [error.status, error.response],
  )

test('record chains run outside in, those of models inside them, and change what is stored', async () => {
  const seen: string[] = []
  const note = (name: keyof Chains, priority?: number) =>
    on(
      name,
      async (e) => {
        seen.push(`${name} in`)
        await (e as { next(): unknown }).next()
        seen.push(`${name} out`)
      },
      { tags: ['notes'], id: name, ...(priority !== undefined && { priority }) },
    )
  for (const name of ['onRecordCreateRequest', 'onRecordCreate', 'onModelCreate', 'onRecordCreateExecute'] as const)
    note(name)
  on('onRecordCreate', (e) => {
    e.record.set('title', `${e.record.text('title')}, seen`)
    return e.next()
  })
  on('onRecordValidate', (e) => {
    seen.push('onRecordValidate')
    return e.next()
  })
  on('onRecordAfterCreateSuccess', (e) => {
    seen.push(`success ${e.record.text('title')}`)
    return e.next()
  })
  expect((await client.collection('notes').create({ title: 'new' }))['title']).toBe('new, seen')
  expect(seen).toEqual([
    'onRecordCreateRequest in',
    'onRecordCreate in',
    'onModelCreate in',
    'onRecordValidate',
    'onRecordCreateExecute in',
    'onRecordCreateExecute out',
    'onModelCreate out',
    'onRecordCreate out',
    'success new, seen',
    'onRecordCreateRequest out',
  ])
})

test('a handler that does not go on stops the work, and nothing is lost or told', async () => {
  const told: string[] = []
  for (const name of [
    'onRecordAfterCreateSuccess',
    'onRecordAfterUpdateSuccess',
    'onRecordAfterDeleteSuccess',
  ] as const)
    on(name, (e) => {
      told.push(name)
      return e.next()
    })
  const withFile = await client.collection('notes').create({ title: 'kept', file: new File(['hello'], 'a.txt') })
  told.length = 0
  on('onRecordCreate', () => {})
  on('onRecordUpdate', () => {})
  on('onRecordDelete', () => {})
  const before = await client.collection('notes').getFullList()
  await client.collection('notes').create({ title: 'never', file: new File(['x'], 'x.txt') })
  await client.collection('notes').update(withFile.id, { title: 'changed', file: null })
  await client.collection('notes').delete(withFile.id)
  expect(await client.collection('notes').getFullList()).toEqual(before)
  const file = await fetch(client.files.getURL(withFile, withFile['file']))
  expect(await file.text()).toBe('hello')
  expect(told).toEqual([])
})

test('a request handler may answer itself, also inside a batch', async () => {
  const nothing = { status: 200, text: '' }
  const answer = async (response: Response) => ({ status: response.status, text: await response.text() })
  on('onRecordViewRequest', () => {}, { tags: ['notes'] })
  on('onRecordsListRequest', (e) => {
    e.response = Response.json({ mine: true }, { status: 202 })
  })
  on('onRecordDeleteRequest', (e) => {
    e.response = Response.json({ deleted: false }, { status: 209 })
  })
  const path = `${server.url}/api/collections/notes/records`
  expect(await answer(await fetch(`${path}/${notes}`))).toEqual(nothing)
  expect(await answer(await fetch(path))).toEqual({ status: 202, text: '{"mine":true}' })
  const batch = client.createBatch()
  batch.collection('notes').delete(notes)
  expect(await batch.send()).toEqual([{ status: 209, body: { deleted: false } }])
})

test('what fails after the commit of a batch takes nothing back that was stored', async () => {
  const { engine } = server
  const told: string[] = []
  on('onRecordAfterCreateSuccess', (e) => {
    told.push(e.record.text('title'))
    throw badRequest('too late')
  })
  const batch = client.createBatch()
  for (const title of ['one', 'two']) batch.collection('notes').create({ title, file: new File([title], 'a.txt') })
  expect(await failure(batch.send())).not.toBeNull()
  expect(told).toEqual(['one', 'two'])
  for (const title of told) {
    const record = engine.records.findFirst(engine.collections.require('notes'), 'title', title)!
    const file = await engine.files.open(`${record.collection.id}/${record.id}/${record.text('file')}`)
    expect(file?.sizeBytes).toBe(title.length)
  }
})

test('a batch stores no upload that its field would not take', async () => {
  const { files } = server.engine
  const stored: string[] = []
  const put = files.put.bind(files)
  files.put = (key, file) => {
    stored.push(file.originalName)
    return put(key, file)
  }
  try {
    const form = new FormData()
    const body = { title: 'three' }
    const requests = [{ method: 'POST', url: '/api/collections/notes/records', body }]
    form.set('@jsonPayload', JSON.stringify({ requests }))
    form.set('requests.0.nothing', new File(['x'], 'nothing.txt'))
    form.set('requests.0.file', new File(['x'.repeat(6 * 1024 * 1024)], 'large.txt'))
    const headers = { authorization: client.authStore.token }
    const answer = await fetch(`${server.url}/api/batch`, { method: 'POST', headers, body: form })
    expect(answer.status).toBe(400)
    expect(stored).toEqual([])
  } finally {
    files.put = put
  }
})

test('what a handler throws is the answer, and rolls back', async () => {
  const thrown: [Error, unknown][] = [
    [badRequest('Not today', { title: { code: 'custom', message: 'No' } }), 'Not today.'],
    [ValidationFailed.of('title', { code: 'custom', message: 'No' }), 'Failed to create record.'],
    [new RefusedError('inner words'), 'Failed to create record.'],
    [new Error('secret words'), 'Failed to create record.'],
  ]
  const errors: unknown[] = []
  on('onRecordAfterCreateError', (e) => {
    errors.push(e.error)
    return e.next()
  })
  for (const [error, message] of thrown) {
    on(
      'onRecordCreateExecute',
      async (e) => {
        await e.next()
        throw error
      },
      { id: 'thrower' },
    )
    const count = (await client.collection('notes').getList(1, 1)).totalItems
    expect(await failure(client.collection('notes').create({ title: 'x' }))).toMatchObject([400, { message }])
    expect((await client.collection('notes').getList(1, 1)).totalItems).toBe(count)
  }
  expect(errors).toEqual(thrown.map(([error]) => error))
  on('onRecordViewRequest', () => {
    throw new Error('secret words')
  })
  const [status, body] = (await failure(client.collection('notes').getOne(notes)))!
  expect([status, body.message]).toEqual([400, 'Something went wrong while processing your request.'])
})

test('lists, views and enrichment show what handlers leave', async () => {
  on('onRecordEnrich', (e) => {
    e.record.set('title', `${e.record.text('title')} for ${e.requestInfo.auth === null ? 'guests' : 'users'}`)
    return e.next()
  })
  const guest = new PocketBase(server.url)
  expect((await guest.collection('notes').getOne(notes))['title']).toBe('first for guests')
  on('onRecordsListRequest', (e) => {
    e.records.splice(1)
    return e.next()
  })
  await client.collection('notes').create({ title: 'second' })
  expect((await client.collection('notes').getList()).items).toHaveLength(1)
})

test('signing in: every chain sees its record and may refuse', async () => {
  const users = new PocketBase(server.url).collection('users')
  const seen: string[] = []
  const see = <E extends { next(): unknown; record: EngineRecord | null }>(
    name: keyof Chains,
    facts: (e: E) => unknown,
  ) =>
    on(name, (e) => {
      const event = e as unknown as E
      seen.push(`${name} ${event.record?.text('email') ?? 'nobody'} ${String(facts(event))}`.trim())
      return event.next()
    })
  see<{ next(): unknown; record: EngineRecord | null; identity: string }>(
    'onRecordAuthWithPasswordRequest',
    (e) => e.identity,
  )
  see<{ next(): unknown; record: EngineRecord; authMethod: string }>('onRecordAuthRequest', (e) => e.authMethod)
  see('onRecordAuthRefreshRequest', () => '')
  see<{ next(): unknown; record: EngineRecord | null; password: string }>('onRecordRequestOTPRequest', (e) => {
    e.password = '12345678'
    return 'otp'
  })
  see('onRecordAuthWithOTPRequest', () => '')
  see('onRecordRequestVerificationRequest', () => '')
  see('onRecordRequestPasswordResetRequest', () => '')
  see('onMailerRecordVerificationSend', () => '')
  const mail = 'user@example.com'
  await users.authWithPassword(mail, 'a-long-password')
  expect(await failure(users.authWithPassword('none@example.com', 'x'))).toMatchObject([400, {}])
  await users.authRefresh()
  const { otpId } = await users.requestOTP(mail)
  await mails.take(mail)
  await users.authWithOTP(otpId, '12345678')
  await users.requestPasswordReset(mail)
  await mails.take(mail)
  expect(seen).toEqual([
    `onRecordAuthWithPasswordRequest ${mail} ${mail}`,
    `onRecordAuthRequest ${mail} password`,
    'onRecordAuthWithPasswordRequest nobody none@example.com',
    `onRecordAuthRefreshRequest ${mail}`,
    `onRecordAuthRequest ${mail}`,
    `onRecordRequestOTPRequest ${mail} otp`,
    `onRecordAuthWithOTPRequest ${mail}`,
    `onRecordAuthRequest ${mail} otp`,
    `onRecordRequestPasswordResetRequest ${mail}`,
  ])
  on('onRecordAuthRequest', () => {
    throw badRequest('Locked out')
  })
  await saveUser(server.engine, 'users', { email: 'other@example.com', password: 'a-long-password' })
  const refused = await failure(users.authWithPassword('other@example.com', 'a-long-password'))
  expect(refused).toMatchObject([400, { message: 'Locked out.' }])
})

test('proving and changing an address, and a new password: both steps of each', async () => {
  const users = new PocketBase(server.url).collection('users')
  const record = await saveUser(server.engine, 'users', { email: 'steps@example.com', password: 'a-long-password' })
  const seen: string[] = []
  const steps = [
    'onRecordRequestVerificationRequest',
    'onRecordConfirmVerificationRequest',
    'onRecordRequestPasswordResetRequest',
    'onRecordConfirmPasswordResetRequest',
    'onRecordRequestEmailChangeRequest',
    'onRecordConfirmEmailChangeRequest',
    'onMailerRecordPasswordResetSend',
    'onMailerRecordEmailChangeSend',
    'onMailerRecordAuthAlertSend',
  ] as const
  for (const name of steps)
    on(name, (e) => {
      seen.push(name)
      if (name === 'onRecordConfirmEmailChangeRequest') (e as { newEmail: string }).newEmail = 'chosen@example.com'
      return (e as { next(): unknown }).next()
    })
  const nowMs = server.engine.clock.now()
  await users.requestVerification('steps@example.com')
  await mails.take('steps@example.com')
  await users.confirmVerification(newVerificationToken(record, nowMs))
  await users.requestPasswordReset('steps@example.com')
  await mails.take('steps@example.com')
  await users.confirmPasswordReset(newPasswordResetToken(record, nowMs), 'another-password', 'another-password')
  await users.authWithPassword('steps@example.com', 'another-password')
  await users.requestEmailChange('asked@example.com')
  await mails.take('asked@example.com')
  const current = server.engine.records.findById(record.collection, record.id)!
  await users.confirmEmailChange(newEmailChangeToken(current, 'asked@example.com', nowMs), 'another-password')
  expect(server.engine.records.findById(record.collection, record.id)!.text('email')).toBe('chosen@example.com')
  expect(seen.filter((name) => !name.startsWith('onMailer'))).toEqual(steps.slice(0, 6))
  expect(new Set(seen.filter((name) => name.startsWith('onMailer')))).toEqual(new Set(steps.slice(6, 8)))
})

test('OAuth2: what a handler makes of the account and of who it is', async () => {
  const oidc = await startOidcProvider()
  try {
    const endpoints = {
      authURL: `${oidc.url}/authorize`,
      tokenURL: `${oidc.url}/token`,
      userInfoURL: `${oidc.url}/userinfo`,
    }
    const { clientId, clientSecret } = oidc
    const provider = { name: 'oidc', clientId, clientSecret, displayName: '', extra: null, pkce: null, ...endpoints }
    const mappedFields = { id: '', name: 'name', username: '', avatarURL: '' }
    await setAuthOptions(server.engine, 'users', { oauth2: { providers: [provider], mappedFields, enabled: true } })
    oidc.user = { sub: 'somebody', email: 'somebody@example.com', email_verified: true, name: 'Ada' }
    const signIn = async () => {
      const users = new PocketBase(server.url).collection('users')
      const found = (await users.listAuthMethods()).oauth2.providers[0]!
      const redirectURL = `${server.url}/api/oauth2-redirect`
      const landed = await oidc.agree(found.authURL + encodeURIComponent(redirectURL))
      return users.authWithOAuth2Code('oidc', landed.searchParams.get('code')!, found.codeVerifier, redirectURL)
    }
    const seen: unknown[] = []
    on('onRecordAuthWithOAuth2Request', (e) => {
      seen.push([e.providerName, e.isNewRecord, e.record?.text('email') ?? null, e.oAuth2User.id])
      if (e.isNewRecord) e.createData = { ...e.createData, name: `${e.oAuth2User.name}, by a handler` }
      return e.next()
    })
    const first = await signIn()
    expect(first.record['name']).toBe('Ada, by a handler')
    const second = await signIn()
    expect(second.record.id).toBe(first.record.id)
    expect(seen).toEqual([
      ['oidc', true, null, 'somebody'],
      ['oidc', false, 'somebody@example.com', 'somebody'],
    ])
    on('onRecordAuthWithOAuth2Request', () => {
      throw badRequest('Not with this provider')
    })
    expect(await failure(signIn())).toMatchObject([400, { message: 'Not with this provider.' }])
  } finally {
    await oidc.stop()
  }
})

test('mails: a handler changes or keeps one', async () => {
  const users = new PocketBase(server.url).collection('users')
  await saveUser(server.engine, 'users', { email: 'fresh@example.com', password: 'a-long-password' })
  on('onMailerRecordVerificationSend', (e) => {
    e.message = { ...e.message, subject: `For ${e.record.text('email')} with ${typeof e.meta['token']}` }
    return e.next()
  })
  on('onMailerSend', (e) => {
    if (e.message.to.some(({ address }) => address === 'user@example.com')) return
    return e.next()
  })
  await users.requestVerification('fresh@example.com')
  expect((await mails.take('fresh@example.com')).subject).toBe('For fresh@example.com with string')
})

test('collections: requests and models, changes and refusals', async () => {
  const seen: string[] = []
  on('onCollectionCreateRequest', (e) => {
    seen.push(`request ${e.collection.name}`)
    return e.next()
  })
  on('onCollectionValidate', (e) => {
    seen.push(`validate ${e.collection.name}`)
    if (e.collection.name === 'refused') throw ValidationFailed.of('name', { code: 'custom', message: 'No' })
    return e.next()
  })
  on('onModelAfterCreateSuccess', (e) => {
    seen.push(`model ${(e.model as { name: string }).name}`)
    return e.next()
  })
  on('onCollectionDelete', () => {}, { tags: ['made'] })
  await client.collections.create({ name: 'made', type: 'base' })
  expect(seen).toEqual(['request made', 'validate made', 'model made'])
  expect(await failure(client.collections.create({ name: 'refused', type: 'base' }))).toMatchObject([
    400,
    { data: { name: { code: 'custom' } } },
  ])
  await client.collections.delete('made')
  expect((await client.collections.getOne('made')).name).toBe('made')
  on('onCollectionsListRequest', (e) => {
    e.result.items.splice(0)
    return e.next()
  })
  expect((await client.collections.getList()).items).toEqual([])
  on('onCollectionsImportRequest', (e) => {
    e.collectionsData = []
    e.response = new Response(null, { status: 204 })
  })
  await client.collections.import([{ name: 'imported', type: 'base' }] as unknown as CollectionModel[])
  expect(await failure(client.collections.getOne('imported'))).toMatchObject([404, {}])
})

test('settings, files, backups, start and end', async () => {
  const seen: string[] = []
  on('onSettingsListRequest', (e) => {
    e.settings = { ...e.settings, meta: { ...e.settings.meta, appName: 'Shown' } }
    return e.next()
  })
  on('onSettingsUpdateRequest', (e) => {
    e.newSettings = { ...e.newSettings, meta: { ...e.newSettings.meta, appName: `${e.oldSettings.meta.appName}!` } }
    return e.next()
  })
  on('onSettingsReload', (e) => {
    seen.push(`reload ${e.app.settings.meta.appName}`)
    return e.next()
  })
  const { appName } = server.engine.settings.meta
  expect((await client.settings.getAll())['meta']['appName']).toBe('Shown')
  await client.settings.update({ meta: { appName: 'ignored' } })
  expect(seen).toEqual([`reload ${appName}!`])

  on('onFileTokenRequest', (e) => {
    e.token = `${e.record.collection.name} token`
    return e.next()
  })
  expect(await client.files.getToken()).toBe('_superusers token')
  const record: RecordModel = await client.collection('notes').create({ file: new File(['hello'], 'a.txt') })
  on('onFileDownloadRequest', (e) => {
    e.servedName = `renamed-${e.fileField.name}`
    return e.next()
  })
  const file = await fetch(client.files.getURL(record, record['file']))
  expect([file.headers.get('content-disposition'), await file.text()]).toEqual([
    'attachment; filename=renamed-file',
    'hello',
  ])

  on('onBackupCreate', (e) => {
    if (e.name === 'never.zip') return
    e.exclude.push('storage')
    return e.next()
  })
  await client.backups.create('never.zip')
  await client.backups.create('made.zip')
  expect((await client.backups.getFullList()).map(({ key }) => key)).toEqual(['made.zip'])

  const other = await startStandalone()
  let isRestart: boolean | null = null
  other.engine.chains.onTerminate.bind({
    id: 'end',
    handle: (e) => {
      isRestart = e.isRestart
      return e.next()
    },
  })
  await other.stop()
  expect(isRestart).toBe(false as never)
})

test('realtime: connecting, subscribing, and each message', async () => {
  const listener = new PocketBase(server.url)
  on('onRealtimeSubscribeRequest', (e) => {
    e.subscriptions = e.subscriptions.map((topic) => (topic.startsWith('wrong') ? 'notes/*' : topic))
    return e.next()
  })
  const sent: string[] = []
  on('onRealtimeMessageSend', (e) => {
    sent.push(e.message.name)
    e.message.data = e.message.data.replace('told', 'changed on the way')
    return e.next()
  })
  const titles: string[] = []
  await listener.realtime.subscribe('notes/*', (message) => void titles.push(message['record'].title))
  await client.collection('notes').create({ title: 'told' })
  await until('the message', () => titles.length > 0)
  expect(titles).toEqual(['changed on the way'])
  expect(sent).toEqual(['PB_CONNECT', 'notes/*'])
  await listener.realtime.unsubscribe()
  on('onRealtimeConnectRequest', () => {
    throw badRequest('Closed')
  })
  const clients = server.engine.realtime.size
  expect((await fetch(`${server.url}/api/realtime`)).status).toBe(400)
  await until('the client to be gone', () => server.engine.realtime.size <= clients)
})

test('realtime: what cannot be made up keeps no record from being stored or deleted', async () => {
  const listener = server.engine.realtime.connect('', () => {})!
  listener.subscribe('notes/*')
  let asked = 0
  on('onRecordEnrich', (e) => {
    if (e.requestInfo?.context !== 'realtime') return e.next()
    asked++
    throw new Error('not now')
  })
  const { id } = await client.collection('notes').create({ title: 'stored' })
  await client.collection('notes').delete(id)
  expect(asked).toBe(2)
  listener.close()
})
