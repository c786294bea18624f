// Text formats that settings and auth forms check. The patterns PocketBase runs are safe in RE2, which never backtracks;
// run by JavaScript they would take exponential time on hostile input. So these are written to look at each character a
// bounded number of times, and each input has a length limit.

import { isIP } from 'node:net'

/** Longer than any address that mail servers take (RFC 5321: 254). */
const emailLengthMax = 1000
/** The limit of the validator that PocketBase uses. */
const urlLengthMax = 2083

const unicode = '\\u00a0-\\ud7ff\\uf900-\\ufdcf\\ufdf0-\\uffef'
const dotAtom = new RegExp(`^[a-zA-Z0-9!#$%&'*+\\-/=?^_\`{|}~${unicode}.]+$`)
// No line breaks, folded or not: an address ends up in mail headers.
const quotedText = new RegExp(`^"(?:[ \\t]*[\\x21\\x23-\\x5b\\x5d-\\x7e${unicode}])*[ \\t]*"$`)
const domainHead = new RegExp(`^[a-zA-Z0-9${unicode}](?:[a-zA-Z0-9\\-._~${unicode}]*[a-zA-Z0-9${unicode}])?$`)
const domainTail = new RegExp(`^[a-zA-Z${unicode}](?:[a-zA-Z0-9\\-_~${unicode}]*[a-zA-Z${unicode}])?$`)

/** Whether `text` has the form of an e-mail address; says nothing about its existence. */
export function isEmail(text: string): boolean {
  if (text.length > emailLengthMax) return false
  const at = text.lastIndexOf('@')
  if (at <= 0) return false
  const local = text.slice(0, at)
  const domain = text.endsWith('.') ? text.slice(at + 1, -1) : text.slice(at + 1)
  const isLocal = local.startsWith('"')
    ? quotedText.test(local)
    : dotAtom.test(local) && !local.startsWith('.') && !local.endsWith('.') && !local.includes('..')
  if (!isLocal) return false
  const lastDot = domain.lastIndexOf('.')
  return lastDot > 0 && domainHead.test(domain.slice(0, lastDot)) && domainTail.test(domain.slice(lastDot + 1))
}

const scheme = /^(?:ftp|tcp|udp|wss?|https?):\/\//
const urlHost = /^[a-zA-Z0-9\u00a1-\uffff](?:[a-zA-Z0-9\u00a1-\uffff._-]*[a-zA-Z0-9\u00a1-\uffff])?\.?$/

/** Whether `text` is an absolute URL, or one without its scheme (`example.com/path`). */
export function isUrl(text: string): boolean {
  if (text.length <= 3 || text.length >= urlLengthMax || text.startsWith('.') || /\s/.test(text)) return false
  let rest = text.replace(scheme, '')
  if (rest.includes('://') && !/[/?#].*:\/\//.test(rest)) return false // a scheme that is not listed
  const pathAt = rest.search(/[/?#]/)
  if (pathAt >= 0) rest = rest.slice(0, pathAt)
  rest = rest.slice(rest.lastIndexOf('@') + 1)
  const port = /:(\d{1,5})$/.exec(rest)
  const host = port === null ? rest : rest.slice(0, port.index)
  if (host.startsWith('[') && host.endsWith(']')) return isIP(host.slice(1, -1)) === 6
  if (!urlHost.test(host) || host.includes('..')) return false
  // Without a scheme, a port or a dot it is a word, not a place.
  return scheme.test(text) || port !== null || text.split(/[?#]/, 1)[0]!.includes('.')
}

const dnsName = /^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,62}(?:\.[a-zA-Z0-9_][a-zA-Z0-9_-]{0,62})*[._]?$/

/** Whether `text` is an IP address or a DNS name. */
export function isHost(text: string): boolean {
  return isIP(text) !== 0 || (text.replaceAll('.', '').length <= 255 && dnsName.test(text))
}

/** `#rrggbb`, `#rgb`, with or without the `#`. */
export function isHexColor(text: string): boolean {
  return /^#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})$/.test(text)
}
