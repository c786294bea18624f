// The control plane's HTTP API, as the verbs use it.

import type { Command } from 'commander'
import { type OptionSpec, readSmallFile, resolveOptions } from '../lib/config/resolve.ts'
import { httpUrl, matching } from '../lib/config/values.ts'
import { ConfigError, errorMessage } from '../lib/errors.ts'
import { CliError } from './cli-error.ts'
import { exitFailed, exitNotFound, exitUnreachable } from './exit-codes.ts'
import { addOptionFlags, typedFlags } from './option-flags.ts'

/** How long one call may take, ms: creating a tenant waits for its first upload. */
const requestTimeoutMs = 60_000

const clientOptions = {
  url: {
    flag: 'url',
    env: 'POCKETFLEET_URL',
    placeholder: 'URL',
    about: 'Gateway or control plane of the fleet. Default http://127.0.0.1:8090.',
    parse: httpUrl,
  } satisfies OptionSpec<string>,
  token: {
    flag: 'token',
    env: 'POCKETFLEET_TOKEN',
    placeholder: 'TOKEN',
    about: 'Admin token of the fleet.',
    parse: matching(/^admin_[A-Za-z0-9]{32}$/, 'admin_ and 32 letters or digits'),
    secret: true,
  } satisfies OptionSpec<string>,
} as const

/** Adds `--url`, `--token`, `--token-file` and `--json`. */
export function addClientFlags(command: Command): Command {
  return addOptionFlags(command, clientOptions).option('--json', 'print the answer as JSON')
}

export interface ApiClient {
  readonly url: string
  readonly token: string
  /** The answer's body; undefined for 204. Throws CliError with a line for a person. */
  request<T>(method: string, path: string, body?: unknown): Promise<T>
  /** The body of a GET as it comes. Throws as {@link request} does. */
  download(path: string): Promise<ReadableStream<Uint8Array>>
}

/** The client that the flags and the environment of `command` describe. */
export function clientOf(command: Command): ApiClient {
  const typed = typedFlags(command)
  const flags = Object.fromEntries(Object.entries(typed).filter(([flag]) => /^(url|token|token-file)$/.test(flag)))
  const options = resolveOptions(clientOptions, { flags, env: process.env, file: {} })
  if (options.token === undefined)
    throw new ConfigError('--token: an admin token is needed; the first one was printed when the fleet first started')
  return openClient(options.url ?? 'http://127.0.0.1:8090', options.token)
}

export function openClient(url: string, token: string): ApiClient {
  return {
    url,
    token,
    async request<T>(method: string, path: string, body?: unknown): Promise<T> {
      const response = await call(url, path, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(requestTimeoutMs),
      })
      const text = await response.text()
      if (!response.ok) throw failure(response.status, text)
      return (text === '' ? undefined : parse(text, url)) as T
    },
    async download(path) {
      const response = await call(url, path, { headers: { authorization: `Bearer ${token}` } })
      if (!response.ok || response.body === null) throw failure(response.status, await response.text())
      return response.body
    },
  }
}

async function call(url: string, path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url + path, init)
  } catch (error) {
    throw new CliError(`cannot reach the fleet at ${url}: ${errorMessage(error)}`, exitUnreachable, { cause: error })
  }
}

function parse(text: string, url: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new CliError(`${url} did not answer with JSON; is it a Pocketfleet gateway or control plane?`, exitFailed, {
      cause: error,
    })
  }
}

/** The error body of the API (`{status, message, data: {field: {code, message}}}`) as one line. */
export function failure(status: number, text: string): CliError {
  let message = `the fleet answered ${status}`
  try {
    const body: unknown = JSON.parse(text)
    if (typeof body === 'object' && body !== null && 'message' in body) {
      message = String(body.message)
      const details = fieldMessages('data' in body ? body.data : null)
      if (details !== '') message += ` (${details})`
    }
  } catch {
    // Not our error body: a proxy in between answered. The status says enough.
  }
  const code = status === 404 ? exitNotFound : status === 401 || status === 403 ? exitUnreachable : exitFailed
  return new CliError(message, code)
}

function fieldMessages(data: unknown): string {
  if (typeof data !== 'object' || data === null) return ''
  return Object.entries(data)
    .map(([field, detail]) =>
      typeof detail === 'object' && detail !== null && 'message' in detail ? `${field}: ${detail.message}` : '',
    )
    .filter((part) => part !== '')
    .join('; ')
}

/** A password or token from `--flag`, or from the file of `--flag-file`; null when neither was given. */
export function secretOption(value: string | undefined, file: string | undefined, flag: string): string | null {
  if (value !== undefined) return value
  return file === undefined ? null : readSmallFile(file, `--${flag}-file`).trim()
}
