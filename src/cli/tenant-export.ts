// `tenant export`: a tenant as a ZIP of `pb_data`, as it is or was. A download that broke off goes on where it stopped, in
// the same call or in a later one: what is there lies beside the target until it is whole.
//
//   FILE.zip.part        the first bytes
//   FILE.zip.part.json   of which moment of which tenant

import { existsSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { exportSizeHeader, grantScheme } from '../ipc/messages/grant.ts'
import { type Clock, sleep, systemClock } from '../lib/clock.ts'
import { AppError, ConfigError, errorMessage } from '../lib/errors.ts'
import { CliError } from './cli-error.ts'
import { type ApiClient, addClientFlags, clientOf, failure } from './client.ts'
import { exitFailed, exitUnreachable } from './exit-codes.ts'
import { Grants } from './grants.ts'
import { type MomentOptions, momentOf } from './moment.ts'
import { print } from './output.ts'
import { Progress } from './progress.ts'

/** Attempts without a new byte. */
const attemptsMax = 8
const pauseMsMin = 500
const pauseMsMax = 8_000
/** Between two looks at a preparation, ms. */
const lookEveryMs = 500
/** No byte for this long is a connection that hangs, ms. */
const silenceMsMax = 60_000

export interface ExportResult {
  readonly tenant: string
  readonly at: string
  readonly file: string
  readonly bytes: number
  /** Bytes that an earlier call had left. */
  readonly resumedFrom: number
}

interface Part {
  readonly tenant: string
  readonly at: string
  readonly path: string
  readonly etag: string | null
  /** What was asked for: another moment is another export. */
  readonly wish: string
}

export function registerExport(tenant: Command): void {
  const verb = tenant
    .command('export')
    .description('download a tenant as a ZIP of pb_data, which PocketBase opens; started again, it goes on')
    .argument('<id|slug>')
    .requiredOption('-o, --output <FILE>', 'the ZIP to write')
    .option('--at <TIME>', 'a time such as 2026-01-31T12:00:00Z, or how long ago: 15m, 2h, 3d; default: now')
    .option('--txid <N>', 'a transaction of data.db')
    .option('--force', 'replace the file')
  addClientFlags(verb).action(
    async (reference: string, options: MomentOptions & { output: string; force?: true; json?: true }) => {
      const file = resolve(options.output)
      if (existsSync(file) && !options.force) throw new ConfigError(`${file} exists: choose another or add --force`)
      const result = await exportTenant(clientOf(verb), reference, { file, moment: options, clock: systemClock })
      print(
        result,
        options.json === true,
        ({ at, bytes, resumedFrom }) =>
          `${file}: ${reference} as of ${at}, ${bytes} bytes${resumedFrom > 0 ? `, gone on from ${resumedFrom}` : ''}`,
      )
    },
  )
}

/** Throws CliError for what the fleet answers, or when the connection breaks again and again. */
export async function exportTenant(
  client: ApiClient,
  reference: string,
  options: { readonly file: string; readonly moment: MomentOptions; readonly clock: Clock },
): Promise<ExportResult> {
  const { file, moment, clock } = options
  const partPath = `${file}.part`
  let part = await beginOrGoOn(client, reference, { partPath, moment, clock })
  const grants = new Grants(client, reference, 'export')
  const resumedFrom = sizeOf(partPath)
  let progress: Progress | null = null
  let attempts = 0
  const done = async (bytes: number): Promise<ExportResult> => {
    await finish(partPath, file)
    return { tenant: part.tenant, at: part.at, file, bytes, resumedFrom }
  }
  for (;;) {
    const before = sizeOf(partPath)
    const response = await ask(client, grants, part, before).catch((error: unknown) => {
      if (!(error instanceof ConnectionError)) throw error
      return error
    })
    if (response instanceof Response && response.status === 202) {
      await response.body?.cancel()
      await sleep(clock, lookEveryMs)
      continue
    }
    let problem: unknown = response
    if (response instanceof Response && response.status === 416) {
      // The last call ended between the last byte and the name; anything else is not ours to go on with.
      const total = Number(response.headers.get(exportSizeHeader) ?? Number.NaN)
      if (total === before) return done(total)
      truncateSync(partPath, 0)
      problem = new ConnectionError(`the fleet has ${total} bytes, here are ${before}`)
    } else if (response instanceof Response) {
      const etag = response.headers.get('etag')
      if (part.etag !== etag) writePart(partPath, (part = { ...part, etag }))
      if (response.status === 200 && before > 0) truncateSync(partPath, 0) // it is another content by now
      const from = response.status === 206 ? before : 0
      const total = Number(response.headers.get(exportSizeHeader) ?? Number.NaN)
      progress ??= new Progress('exporting', total - from)
      problem = await append(response, partPath, progress)
      if (problem === null && sizeOf(partPath) === total) {
        progress.end()
        return done(total)
      }
    }
    attempts = sizeOf(partPath) > before ? 1 : attempts + 1
    if (attempts >= attemptsMax)
      throw new CliError(
        `the download broke off ${attempts} times (${errorMessage(problem)}); start it again to go on`,
        exitUnreachable,
      )
    await sleep(clock, Math.min(pauseMsMax, pauseMsMin * 2 ** attempts))
  }
}

/** The moment of an unfinished download of the same wish, or a new one. */
async function beginOrGoOn(
  client: ApiClient,
  reference: string,
  { partPath, moment, clock }: { readonly partPath: string; readonly moment: MomentOptions; readonly clock: Clock },
): Promise<Part> {
  const wish = JSON.stringify([reference, moment.at ?? null, moment.txid ?? null])
  const known = readPart(partPath)
  if (known !== null && known.wish === wish && existsSync(partPath)) return known
  rmSync(partPath, { force: true })
  const begun = await client.request<{ tenant: string; at: string; path: string }>(
    'POST',
    `/api/cp/tenants/${encodeURIComponent(reference)}/export`,
    momentOf(moment, clock),
  )
  const part = { tenant: begun.tenant, at: begun.at, path: begun.path, etag: null, wish }
  writePart(partPath, part)
  return part
}

function readPart(partPath: string): Part | null {
  try {
    return JSON.parse(readFileSync(`${partPath}.json`, 'utf8')) as Part
  } catch {
    return null // there is none, or it was half written: then the download begins anew
  }
}

function writePart(partPath: string, part: Part): void {
  writeFileSync(`${partPath}.json`, JSON.stringify(part))
}

function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0
}

/** The connection, not the fleet, is at fault: worth another attempt. */
class ConnectionError extends AppError {
  readonly code = 'connection'
}

/** A renewed grant, where the old one had expired; throws CliError for other answers and ConnectionError for none. */
async function ask(client: ApiClient, grants: Grants, part: Part, from: number): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    const headers = {
      authorization: grantScheme + (await grants.get()),
      'x-tenant-id': grants.reference,
      ...(from > 0 && part.etag !== null && { range: `bytes=${from}-`, 'if-range': part.etag }),
    }
    let response: Response
    try {
      response = await fetch(client.url + part.path, { headers })
    } catch (error) {
      throw new ConnectionError(`cannot reach the fleet at ${client.url}`, { cause: error })
    }
    if ([200, 202, 206, 416].includes(response.status)) return response
    const text = await response.text()
    if (response.status === 401 && attempt === 1) grants.renew()
    else if (response.status >= 502) throw new ConnectionError(`the fleet answered ${response.status}`)
    else throw failure(response.status, text)
  }
}

/** Null when the whole body was written; else what broke it off. */
async function append(response: Response, path: string, progress: Progress): Promise<unknown> {
  const file = await open(path, 'a', 0o600)
  const silence = new AbortController()
  try {
    const reader = response.body!.getReader()
    for (;;) {
      const cancel = systemClock.setTimer(silenceMsMax, () => {
        silence.abort(new ConnectionError(`no byte came for ${silenceMsMax} ms`))
        void reader.cancel()
      })
      const { done, value } = await reader.read().finally(cancel)
      silence.signal.throwIfAborted()
      if (done) return null
      for (let at = 0; at < value.length; ) at += (await file.write(value, at)).bytesWritten
      progress.add(value.length)
    }
  } catch (error) {
    if (error instanceof Error && 'syscall' in error && error.syscall === 'write')
      throw new CliError(`cannot write ${path}: ${errorMessage(error)}`, exitFailed, { cause: error })
    return error
  } finally {
    await file.close()
  }
}

/** The whole file gets its name once its bytes are safe. */
async function finish(partPath: string, file: string): Promise<void> {
  const handle = await open(partPath, 'r+')
  await handle.sync()
  await handle.close()
  await rename(partPath, file)
  rmSync(`${partPath}.json`, { force: true })
}
