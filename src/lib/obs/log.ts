// Logs are events with fields: constant text in the past tense, never interpolated; never secrets or record contents.
// `error`: someone must act; `warn`: degraded, recovering; `info`: a state changed; `debug`: per request.

import { errorMessage } from '../errors.ts'

export const logLevels = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof logLevels)[number]
export type LogFields = Readonly<Record<string, unknown>>

export interface Logger {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
  /** A logger that adds `fields` to each of its events. */
  with(fields: LogFields): Logger
}

export interface LogSink {
  write(line: string): void
}

/** Errors become one line; bigint and undefined would not survive JSON. */
function plain(value: unknown): unknown {
  if (value instanceof Error) return errorMessage(value)
  if (typeof value === 'bigint') return value.toString()
  return value
}

function renderJson(level: LogLevel, atMs: number, event: string, fields: LogFields): string {
  const line: Record<string, unknown> = { time: new Date(atMs).toISOString(), level, event }
  for (const [key, value] of Object.entries(fields)) line[key] = plain(value)
  return JSON.stringify(line)
}

function renderText(level: LogLevel, atMs: number, event: string, fields: LogFields): string {
  const pairs = Object.entries(fields).map(([key, value]) => {
    const shown = plain(value)
    return `${key}=${typeof shown === 'string' && /^[\w.:/@-]*$/.test(shown) ? shown : JSON.stringify(shown)}`
  })
  return [new Date(atMs).toISOString(), level.padEnd(5), event, ...pairs].join(' ')
}

/** Lines go to `sink` (standard error by default), as JSON or as text for people. */
export function createLogger(options: {
  readonly level: LogLevel
  readonly format: 'json' | 'text'
  readonly now: () => number
  readonly sink?: LogSink
  readonly fields?: LogFields
}): Logger {
  const { level, format, now, fields: base = {} } = options
  const sink = options.sink ?? { write: (line: string) => process.stderr.write(`${line}\n`) }
  const least = logLevels.indexOf(level)
  const render = format === 'json' ? renderJson : renderText
  const emit = (at: LogLevel, event: string, fields?: LogFields) => {
    if (logLevels.indexOf(at) >= least) sink.write(render(at, now(), event, { ...base, ...fields }))
  }
  return {
    debug: (event, fields) => emit('debug', event, fields),
    info: (event, fields) => emit('info', event, fields),
    warn: (event, fields) => emit('warn', event, fields),
    error: (event, fields) => emit('error', event, fields),
    with: (fields) => createLogger({ ...options, sink, fields: { ...base, ...fields } }),
  }
}

/** Drops everything; for tests. */
export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with: () => silentLogger,
}
