// How single option values are read. Each parser returns the value or says, in a few words, what it would have taken.

import { type Err, err, ok, type Result } from '../result.ts'

/** Reads one value; the error is the text after "expected". */
export type ValueParser<T> = (text: string) => Result<T, string>

export interface ListenAddress {
  readonly host: string
  /** 0 lets the system choose a free one. */
  readonly port: number
}

const portMax = 65_535

function readPort(text: string): number | null {
  if (!/^\d{1,5}$/.test(text)) return null
  const port = Number(text)
  return port <= portMax ? port : null
}

/** `host:port`, `:port`, `port`; IPv6 in brackets. An empty host means every interface. */
export const listenAddress: ValueParser<ListenAddress> = (text) => {
  const expected = err(`host:port, :port or port, with a port from 0 to ${portMax}`)
  const bare = readPort(text)
  if (bare !== null) return ok({ host: '127.0.0.1', port: bare })
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s]*)):(\d+)$/.exec(text)
  if (match === null) return expected
  const port = readPort(match[3]!)
  if (port === null) return expected
  return ok({ host: match[1] ?? (match[2] || '0.0.0.0'), port })
}

/** `host:port` that another machine can reach: a host and a port are both needed. */
export const peerAddress: ValueParser<string> = (text) => {
  const parsed = listenAddress(text)
  if (!parsed.ok || !text.includes(':') || text.startsWith(':') || parsed.value.port === 0)
    return err('host:port that others can reach')
  return ok(text)
}

/** A comma-separated list without empty parts; `null` when a part is refused. */
export function listOf<T>(part: ValueParser<T>, lengthMax: number): ValueParser<readonly T[]> {
  return (text) => {
    const parts = text.split(',').map((each) => each.trim())
    if (parts.length > lengthMax) return err(`at most ${lengthMax} values separated by commas`)
    const values: T[] = []
    for (const each of parts) {
      const parsed = part(each)
      if (!parsed.ok) return err(`a list separated by commas, each ${parsed.error}`)
      values.push(parsed.value)
    }
    return ok(values)
  }
}

export function integer(from: number, to: number): ValueParser<number> {
  return (text) => {
    const value = Number(text)
    return /^-?\d+$/.test(text) && value >= from && value <= to
      ? ok(value)
      : err(`a whole number from ${from} to ${to}`)
  }
}

export function oneOf<const Values extends readonly string[]>(values: Values): ValueParser<Values[number]> {
  return (text) => (values.includes(text) ? ok(text as Values[number]) : err(`one of ${values.join(', ')}`))
}

export function matching(pattern: RegExp, expected: string): ValueParser<string> {
  return (text) => (pattern.test(text) ? ok(text) : err(expected))
}

/** An absolute http(s) URL without credentials, query or fragment. */
export const httpUrl: ValueParser<string> = (text) => {
  const expected: Err<string> = err('an http:// or https:// URL')
  if (!URL.canParse(text)) return expected
  const url = new URL(text)
  if ((url.protocol !== 'http:' && url.protocol !== 'https:') || url.username || url.search || url.hash) return expected
  return ok(text.replace(/\/+$/, ''))
}

/** `FROM-TO`, both inclusive. */
export const portRange: ValueParser<{ readonly from: number; readonly to: number }> = (text) => {
  const match = /^(\d+)-(\d+)$/.exec(text)
  const from = match ? readPort(match[1]!) : null
  const to = match ? readPort(match[2]!) : null
  if (from === null || to === null || from === 0 || to < from) return err('FROM-TO, two ports from 1 to 65535 in order')
  return ok({ from, to })
}

/** `key=value` pairs separated by commas. */
export const labels: ValueParser<Readonly<Record<string, string>>> = (text) => {
  const pairs: Record<string, string> = {}
  for (const part of text.split(',')) {
    const match = /^\s*([a-zA-Z0-9][a-zA-Z0-9._/-]{0,62})=([a-zA-Z0-9._-]{0,63})\s*$/.exec(part)
    if (match === null) return err('key=value pairs separated by commas')
    pairs[match[1]!] = match[2]!
  }
  return ok(pairs)
}

export const flagValue: ValueParser<boolean> = (text) => {
  if (text === 'true' || text === '1' || text === 'yes') return ok(true)
  if (text === 'false' || text === '0' || text === 'no') return ok(false)
  return err('true or false')
}

/** Anything but the empty string. */
export const nonEmpty: ValueParser<string> = (text) => (text === '' ? err('a value') : ok(text))
