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

/** Letters and digits, and a label with single hyphens. */
const alnum = 'a-zA-Z0-9'
const wide = `${alnum}\\u00a1-\\uffff`
// What may stand before the last two labels: names with underscores and hyphens in the first of them, or with any single
// separator and two letters or digits in a row before the last dot. Each alternative matches a text in one way only.
const leading = `(?:[${alnum}][${alnum}_-]*[${alnum}](?:\\.[${alnum}]+(?:-[${alnum}]+)*)*|www\\.|(?:[${alnum}]+[-_.])*[${alnum}]{2,}\\.[${alnum}]+)`
const lastLabels = `[${wide}]+(?:-{1,2}[${wide}]+)*(?:\\.[a-zA-Z\\u00a1-\\uffff]+)?`
const urlAddress =
  '(?:[1-9]\\d?|1\\d\\d|2[01]\\d|22[0-3]|24\\d|25[0-5])(?:\\.(?:\\d{1,2}|1\\d\\d|2[0-4]\\d|25[0-5])){2}\\.(?:\\d{1,2}|1\\d\\d|2[0-4]\\d|25[0-5])'
const urlHost = new RegExp(`^(?:${urlAddress}|${leading}?${lastLabels})$`, 'u')
const urlScheme = /^(?:ftp|tcp|udp|wss?|https?):\/\//
const userinfo = /^[a-zA-Z0-9\-._:~!$&'()*+,;=%@]*$/
const badInHost = /[\\^`{|}]/
const badEscape = /%(?![0-9a-fA-F]{2})/

/** Whether `text` is an absolute URL, or one without its scheme (`example.com/path`). */
export function isUrl(text: string): boolean {
  if (Buffer.byteLength(text) <= 3 || [...text].length >= urlLengthMax || text.startsWith('.')) return false
  if (/[\0-\x20\x7f]/.test(text) || !isParsableUrl(text)) return false
  if (isUrlAfterUser(text.replace(urlScheme, ''))) return true
  // Whatever stands before an `@` may be a user name, slashes and all.
  for (let at = text.indexOf('@', 1); at >= 0; at = text.indexOf('@', at + 1))
    if (isUrlAfterUser(text.slice(at + 1))) return true
  return false
}

/** Host, port and path. */
function isUrlAfterUser(text: string): boolean {
  const end = text.search(/[/?#@]/)
  if (end >= 0 && text[end] === '@') return false
  const authority = end < 0 ? text : text.slice(0, end)
  const host = authority.replace(/:\d{1,5}$/, '').replace(/\.$/, '')
  if (host.startsWith('[') && host.endsWith(']')) return isIP(host.slice(1, -1)) === 6
  return urlHost.test(host)
}

/** What Go's parser of URLs refuses, and a word without a dot, which is no place. */
function isParsableUrl(text: string): boolean {
  const [beforeFragment = '', ...fragment] = text.split('#')
  const [location = ''] = beforeFragment.split('?', 1)
  if (badEscape.test(location) || badEscape.test(fragment.join('#'))) return false
  const start = text.includes('://') ? /^[a-zA-Z][a-zA-Z0-9+.-]*:\/\// : text.includes(':') ? /^/ : null
  const scheme = start?.exec(location)
  if (!scheme) return location === '' || (location.includes('.') && !/^[^/]*:/.test(location))
  const [authority = ''] = location.slice(scheme[0].length).split('/', 1)
  const at = authority.lastIndexOf('@')
  const host = authority.slice(at + 1)
  if (!userinfo.test(authority.slice(0, Math.max(at, 0))) || host.startsWith('.') || badInHost.test(host)) return false
  return host.startsWith('[') ? /\](?::\d*)?$/.test(host) : /^[^:]*(?::\d*)?$/.test(host)
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
