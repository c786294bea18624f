// Requests as an attacker or a broken client sends them: bytes, escapes, half a grammar, far too much of something, in
// every place that takes input. Each must be answered, soon, and by a decision of ours: nothing unforeseen may stand in
// the log. Seeded: a round replays alone.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/lib/clock.ts'
import { createLogger } from '../../src/lib/obs/log.ts'
import { type Rng, seededRng, systemRng } from '../../src/lib/rng.ts'
import { TenantApi } from '../../src/node/api/app.ts'
import { PasswordQueue } from '../../src/node/engine/auth/password.ts'
import { newAuthToken } from '../../src/node/engine/auth/tokens.ts'
import { createCollection } from '../../src/node/engine/collections/manage.ts'
import { type Engine, openEngine } from '../../src/node/engine/engine.ts'
import { LocalStorage } from '../../src/node/engine/files/local-storage.ts'
import { defaultSettings } from '../../src/node/engine/settings/settings.ts'
import { hostOf, saveUser, setAuthOptions } from './engine.ts'

/** The longest that one request may keep everybody else from their turn, ms. */
const blockMsMax = 50
/** A request that seems to block is sent again, and the least counts: the machine has other work. */
const measuresMax = 6
/** An answer that takes longer is a hanging one, ms: some wait for a child process, or are delayed on purpose. */
const answerMsMax = 60_000

export interface HostileRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | null
}

export interface HostileOutcome {
  readonly requests: number
  readonly byStatus: Readonly<Record<string, number>>
  /** Of all requests, the longest that one blocked. */
  readonly blockMsMax: number
}

/** Failures that are told of; the rounds end with the last of them. */
const failuresMax = 20

/** Throws when a request is not dealt with, naming its round. */
export async function runHostileRequests(options: {
  readonly seed: number
  /** From which round on; to replay one. */
  readonly from?: number
  readonly rounds: number
  readonly onRound?: (line: string) => void
}): Promise<HostileOutcome> {
  await using world = await openWorld()
  const byStatus: Record<string, number> = {}
  const failures: string[] = []
  let worstMs = 0
  for (let round = options.from ?? 0; round < options.rounds && failures.length < failuresMax; round++) {
    const rng = seededRng(options.seed * 1_000_003 + round)
    const request = hostileRequest(rng, world)
    const where = `SEED=${options.seed} round ${round}: ${describe(request)}`
    let blockedMs = Number.POSITIVE_INFINITY
    for (let measure = 0; measure < measuresMax && blockedMs > blockMsMax; measure++) {
      const sent = await send(world, request, where)
      blockedMs = Math.min(blockedMs, sent.blockedMs)
      if (measure === 0) byStatus[sent.status] = (byStatus[sent.status] ?? 0) + 1
      if (sent.status >= 500) failures.push(`answered ${sent.status}: ${where}`)
      for (const problem of world.problems.splice(0)) failures.push(`${problem}: ${where}`)
    }
    if (blockedMs > blockMsMax) failures.push(`blocked for ${blockedMs.toFixed(0)} ms: ${where}`)
    worstMs = Math.max(worstMs, blockedMs)
    await world.engine.settingsStore.save(world.settings)
    if (round % 1_000 !== 999) continue
    options.onRound?.(`${round + 1}/${options.rounds} requests, worst ${worstMs.toFixed(1)} ms`)
    // Their own logs would be what is measured in the end.
    await world.engine.aux.transaction(() => world.engine.aux.exec('DELETE FROM _logs'))
  }
  if (failures.length > 0) throw new Error(failures.join('\n'))
  return { requests: options.rounds, byStatus, blockMsMax: worstMs }
}

interface World extends AsyncDisposable {
  readonly engine: Engine
  readonly api: TenantApi
  readonly tokens: readonly string[]
  readonly settings: Engine['settings']
  /** What was logged as an error since the last request. */
  readonly problems: string[]
}

async function openWorld(): Promise<World> {
  const dir = mkdtempSync(join(tmpdir(), 'pf-hostile-'))
  const problems: string[] = []
  const sink = { write: (line: string) => void problems.push(line) }
  const engine = await openEngine({
    dir,
    clock: systemClock,
    rng: systemRng,
    log: createLogger({ level: 'error', format: 'json', now: systemClock.now, sink }),
    passwords: new PasswordQueue().lane(),
    files: new LocalStorage(join(dir, 'storage')),
    checkpoint: 'sqlite',
    mayReachPrivate: false,
  })
  const settings = { ...defaultSettings, batch: { ...defaultSettings.batch, enabled: true } }
  await engine.settingsStore.save(settings)
  const types = ['text', 'editor', 'number', 'bool', 'email', 'url', 'date', 'json', 'geoPoint'] as const
  const posts = await createCollection(engine, {
    name: 'posts',
    type: 'base',
    ...{ listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: '' },
    fields: [
      ...types.map((type) => ({ name: `a_${type}`, type })),
      { name: 'a_select', type: 'select', values: ['a', 'b'], maxSelect: 2 },
      { name: 'a_file', type: 'file', maxSelect: 3 },
      { name: 'a_pattern', type: 'text', pattern: '^(a+)+$' },
    ],
  })
  await createCollection(engine, {
    name: 'comments',
    type: 'base',
    listRule: 'post.a_text != "x" || @request.query.q:isset = true',
    viewRule: '@request.headers.x_test = "1" || post.a_bool = false',
    createRule: '@request.body.post:isset = true',
    fields: [{ name: 'post', type: 'relation', collectionId: posts.id, maxSelect: 1, cascadeDelete: true }],
  })
  await createCollection(engine, {
    name: 'latest',
    type: 'view',
    listRule: '',
    viewQuery: 'SELECT id, a_text FROM posts',
  })
  await setAuthOptions(engine, 'users', {
    otp: { enabled: true, duration: 60, length: 4, emailTemplate: emptyTemplate },
  })
  const root = await saveUser(engine, '_superusers', { email: 'root@example.com' })
  const user = await saveUser(engine, 'users', { email: 'user@example.com' })
  const nowMs = systemClock.now()
  return {
    engine,
    api: new TenantApi({ host: hostOf(engine) }),
    tokens: [newAuthToken(root, nowMs), newAuthToken(user, nowMs), ''],
    settings,
    problems,
    async [Symbol.asyncDispose]() {
      await engine.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

const emptyTemplate = { subject: 'x', body: 'x' }

async function send(
  { api }: World,
  request: HostileRequest,
  where: string,
): Promise<{ status: number; blockedMs: number }> {
  const { method, path, headers, body } = request
  const made = new Request(`http://localhost${path}`, { method, headers, ...(body !== null && { body }) })
  const watch = watchBlocks()
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${answerMsMax} ms: ${where}`)), answerMsMax)
  })
  try {
    const response = await Promise.race([api.answer(made, null), late])
    if (response.headers.get('content-type') === 'text/event-stream') await response.body?.cancel()
    else await Promise.race([response.arrayBuffer(), late])
    return { status: response.status, blockedMs: watch.stop() }
  } finally {
    clearTimeout(timer)
    watch.stop()
  }
}

/** Measures the longest time in which nobody else of the process had a turn, as far as this process used it. */
function watchBlocks(): { stop(): number } {
  let lastMs = performance.now()
  let lastCpu = process.cpuUsage()
  let longestMs = 0
  const note = () => {
    const nowMs = performance.now()
    const { user, system } = process.cpuUsage(lastCpu)
    longestMs = Math.max(longestMs, Math.min(nowMs - lastMs, (user + system) / 1_000))
    lastMs = nowMs
    lastCpu = process.cpuUsage()
  }
  const timer = setInterval(note, 1)
  return {
    stop() {
      note()
      clearInterval(timer)
      return longestMs
    },
  }
}

function describe({ method, path, headers, body }: HostileRequest): string {
  const text = body === null ? '' : Buffer.from(body).toString('latin1').slice(0, 200)
  return `${method} ${path.slice(0, 400)} ${JSON.stringify(headers).slice(0, 200)} ${JSON.stringify(text)}`
}

const pick = <T>(rng: Rng, list: readonly T[]): T => list[rng.below(list.length)]!
const chance = (rng: Rng, percent: number): boolean => rng.below(100) < percent

/** Of grammars that are parsed: filters, sorts, expands, field lists, SQL, JSON, templates, paths. */
const pieces: readonly string[] = (
  '( ) [ ] { } " \' ` \\ && || = != > >= < <= ~ !~ ?= ?~ // /* */ -- ; , . .. ../ : :each :length :isset :lower :excerpt( ' +
  ' :changed + - * ? # @ @request. @request.auth.id @request.body.a @request.query.q @request.headers.x @collection.posts.id ' +
  '@collection.posts:alias.id @now @todayStart @random @rowid id posts comments post a_text a_json a_geoPoint a_file a_select ' +
  'comments_via_post post.a_text null true false 1 -1 0.5 1e999 9223372036854775808 NaN geoDistance( strftime( "%Y" UNION ' +
  'SELECT FROM WHERE sqlite_schema load_extension randomblob(9) AND OR LIKE GLOB id+ +id id- __proto__ constructor toString ' +
  '{TOKEN} {{ }} $x %s %00 %zz %ff <script> \u0000 \u0001 \u007f \u0085 \u2028 \ud800 \ufffd 😀 é \r\n'
).split(' ')

function noise(rng: Rng, lengthMax: number): string {
  return Buffer.from(rng.bytes(rng.below(lengthMax) + 1)).toString(chance(rng, 50) ? 'latin1' : 'utf8')
}

/** A text for anything that reads text. */
function hostileText(rng: Rng): string {
  switch (rng.below(8)) {
    case 0:
      return noise(rng, 200)
    case 1:
      return pick(rng, pieces).repeat(rng.below(3_000) + 1)
    case 2:
      return `${pick(rng, ['(', '[', '{"a":', '((', '-', 'a.', '!', 'f('])}`.repeat(rng.below(5_000) + 1)
    case 3: {
      const condition = pick(rng, ["a_text = 'x'", 'a_number > 1', "post.a_text ~ 'x'", 'a_json.a.b.c = null'])
      return Array.from({ length: rng.below(300) + 1 }, () => condition).join(pick(rng, ['&&', ' || ', ',']))
    }
    case 4:
      return 'a'.repeat(rng.below(60_000))
    default:
      return Array.from({ length: rng.below(40) + 1 }, () => pick(rng, pieces)).join(pick(rng, ['', ' ', '.']))
  }
}

function hostileValue(rng: Rng, depth = 0): unknown {
  if (depth < 4 && chance(rng, 25))
    return chance(rng, 50)
      ? Array.from({ length: rng.below(5) }, () => hostileValue(rng, depth + 1))
      : Object.fromEntries(
          Array.from({ length: rng.below(5) }, () => [pick(rng, pieces), hostileValue(rng, depth + 1)]),
        )
  const plain = [null, true, false, 0, -1, 1.5, 1e308, -1e-308, 2 ** 53, '', '1', 'true', '2026-01-01', 'a@b.c']
  return chance(rng, 40) ? pick(rng, plain) : hostileText(rng)
}

const names: readonly string[] = (
  'id created updated email password passwordConfirm oldPassword verified emailVisibility tokenKey collectionId expand ' +
  'a_text a_editor a_number a_bool a_email a_url a_date a_json a_geoPoint a_select a_file a_pattern post name type fields ' +
  'indexes listRule viewRule viewQuery options collections deleteMissing requests method url body headers token identity ' +
  'otpId mfaId provider code codeVerifier redirectURL createData filesystem template clientId subscriptions query meta ' +
  'smtp s3 backups logs duration newEmail identityField system authRule manageRule oauth2 otp mfa __proto__ constructor'
).split(' ')

function hostileObject(rng: Rng): Record<string, unknown> {
  const entries = Array.from({ length: rng.below(8) + 1 }, () => {
    const suffix = chance(rng, 20) ? pick(rng, ['+', '-', ':autogenerate', '.a', '[0]', '[]']) : ''
    const prefix = chance(rng, 5) ? '+' : ''
    return [prefix + pick(rng, names) + suffix, hostileValue(rng)] as const
  })
  return Object.fromEntries(entries)
}

function jsonBytes(rng: Rng, value: unknown): Uint8Array {
  const text = JSON.stringify(value)
  if (chance(rng, 75)) return Buffer.from(text)
  const bytes = Buffer.from(text)
  for (let flips = rng.below(4); flips >= 0; flips--)
    if (bytes.length > 0) bytes[rng.below(bytes.length)] = rng.below(256)
  return bytes.subarray(0, chance(rng, 30) ? rng.below(bytes.length + 1) : bytes.length)
}

function multipartBytes(rng: Rng, boundary: string): Uint8Array {
  const parts: Buffer[] = []
  for (let count = rng.below(6); count >= 0; count--) {
    const name = chance(rng, 70) ? pick(rng, [...names, '@jsonPayload', 'file']) : hostileText(rng).slice(0, 200)
    const filename = chance(rng, 50)
      ? `; filename="${pick(rng, ['../../x.txt', 'a.png', hostileText(rng).slice(0, 300)])}"`
      : ''
    const type = chance(rng, 30)
      ? `\r\nContent-Type: ${pick(rng, ['image/png', 'x', hostileText(rng).slice(0, 80)])}`
      : ''
    const content = chance(rng, 50)
      ? Buffer.from(rng.bytes(rng.below(3_000)))
      : Buffer.from(jsonBytes(rng, hostileValue(rng)))
    parts.push(Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"${filename}${type}\r\n\r\n`))
    parts.push(content, Buffer.from(pick(rng, ['\r\n', '\r\n', '\r\n', '', '\n'])))
  }
  parts.push(Buffer.from(pick(rng, [`--${boundary}--`, `--${boundary}--\r\n`, '', '--'])))
  return Buffer.concat(parts)
}

const collections = ['posts', 'posts', 'comments', 'latest', 'users', '_superusers', '_otps', 'pbc_3142635823']

/** A part of a path: an id, a name, or something that tries to leave its place. */
function segment(rng: Rng, usual: readonly string[]): string {
  if (chance(rng, 70)) return encodeURIComponent(pick(rng, usual))
  const raw = ['..', '.', '%2e%2e', '..%2f..%2fdata.db', '%00', '%ff', '%zz', '*', '~', 'a%2fb', 'a%5cb', '', "'"]
  return chance(rng, 60) ? pick(rng, raw) : safeEscape(hostileText(rng).slice(0, 300))
}

function safeEscape(text: string): string {
  return encodeURIComponent(text.toWellFormed())
}

function hostileQuery(rng: Rng): string {
  const keys = 'filter sort expand fields page perPage skipTotal thumb token download mfaId q'.split(' ')
  const parts = Array.from({ length: rng.below(4) }, () => {
    const text = hostileText(rng).slice(0, 8_000)
    const value = chance(rng, 90) ? safeEscape(text) : text.replace(/[^\x21-\x7e]|#/g, '%')
    return `${pick(rng, keys)}=${value}`
  })
  return parts.length === 0 ? '' : `?${parts.join('&')}`
}

const ids = ['a'.repeat(15), 'post00000000001', 'x', 'none']
const authActions = (
  'auth-with-password auth-with-otp auth-with-oauth2 request-otp request-verification confirm-verification auth-methods ' +
  'request-password-reset confirm-password-reset request-email-change confirm-email-change auth-refresh impersonate/x'
).split(' ')

function target(rng: Rng): readonly [method: string, path: string] {
  const collection = segment(rng, collections)
  const records = `/api/collections/${collection}/records`
  switch (rng.below(12)) {
    case 0:
    case 1:
    case 2:
      return ['GET', records]
    case 3:
      return [pick(rng, ['GET', 'PATCH', 'DELETE']), `${records}/${segment(rng, ids)}`]
    case 4:
    case 5:
      return ['POST', records]
    case 6:
      return ['POST', `/api/collections/${collection}/${pick(rng, authActions)}`]
    case 7:
      return ['GET', `/api/files/${collection}/${segment(rng, ids)}/${segment(rng, ['a.png', 'x'])}`]
    case 8:
      return [pick(rng, ['POST', 'PATCH', 'PUT', 'GET', 'DELETE']), pick(rng, adminPaths(rng, collection))]
    case 9:
      return ['POST', pick(rng, ['/api/batch', '/api/realtime', '/api/oauth2-redirect'])]
    case 10:
      return [pick(rng, ['GET', 'POST', 'DELETE']), `/api/backups/${segment(rng, ['x.zip', 'upload'])}`]
    default:
      return [
        pick(rng, ['GET', 'POST', 'HEAD', 'TRACE', 'PURGE'].slice(0, 3)),
        `/${segment(rng, ['api', '_', 'x'])}/${segment(rng, ['health', 'y'])}`,
      ]
  }
}

function adminPaths(rng: Rng, collection: string): readonly string[] {
  return [
    '/api/collections',
    `/api/collections/${collection === 'users' ? 'latest' : collection}`,
    '/api/collections/import',
    '/api/collections/meta/dry-run-view',
    '/api/settings',
    '/api/settings/test/s3',
    '/api/settings/test/email',
    '/api/settings/apple/generate-client-secret',
    '/api/logs',
    '/api/logs/stats',
    `/api/logs/${segment(rng, ids)}`,
    `/api/crons/${segment(rng, ['__pbLogsCleanup__', 'x'])}`,
    '/api/files/token',
  ]
}

function headerText(rng: Rng): string {
  return hostileText(rng)
    .replace(/[^\x20-\x7e\x80-\xff]/g, '')
    .trim()
    .slice(0, 2_000)
}

function hostileRequest(rng: Rng, { tokens }: World): HostileRequest {
  const [method, path] = target(rng)
  const headers: Record<string, string> = {}
  const token = pick(rng, tokens)
  if (chance(rng, 85)) headers['authorization'] = pick(rng, [token, token, token, damaged(rng, token), headerText(rng)])
  const odd = [
    'cookie',
    'range',
    'if-none-match',
    'if-modified-since',
    'accept',
    'user-agent',
    'x-forwarded-for',
    'x-test',
    'origin',
  ]
  for (const name of odd)
    if (chance(rng, 8)) headers[name] = name === 'range' ? `bytes=${headerText(rng)}` : headerText(rng)
  let body: Uint8Array | null = null
  if (method !== 'GET' && method !== 'HEAD') {
    const boundary = 'B0undary'
    switch (rng.below(6)) {
      case 0:
      case 1:
        headers['content-type'] = 'application/json'
        body = jsonBytes(rng, hostileObject(rng))
        break
      case 2:
        headers['content-type'] = `multipart/form-data; boundary=${boundary}`
        body = multipartBytes(rng, boundary)
        break
      case 3:
        headers['content-type'] = 'application/x-www-form-urlencoded'
        body = Buffer.from(
          Object.entries(hostileObject(rng))
            .map(([key, value]) => `${safeEscape(key)}=${safeEscape(String(JSON.stringify(value)))}`)
            .join('&'),
        )
        break
      case 4:
        headers['content-type'] = headerText(rng) || 'x'
        body = Buffer.from(rng.bytes(rng.below(2_000)))
        break
      default:
        body = Buffer.from('[{"a":'.repeat(rng.below(20_000)))
        headers['content-type'] = 'application/json'
    }
  }
  return { method, path: path + hostileQuery(rng), headers, body }
}

function damaged(rng: Rng, token: string): string {
  const bytes = Buffer.from(token)
  if (bytes.length > 0) bytes[rng.below(bytes.length)] = 33 + rng.below(90)
  return bytes.toString('latin1')
}
