// IP addresses and subnets as PocketBase compares them: an IPv4 subnet never contains an IPv6 address, and every
// address that leaves here is written in one form, so that texts can be compared.

import { LruMap } from '../../../lib/lru.ts'

/** 4 or 16 bytes. */
export type IpAddress = Uint8Array

/**
 * Reads one IPv4 or IPv6 address; no port, no brackets, no zone.
 *
 * @returns null for anything else, octets with leading zeros included (their meaning is disputed).
 */
export function parseIp(text: string): IpAddress | null {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text)
}

/** `1.2.3.4`, or all eight groups of IPv6 with leading zeros. */
export function formatIp(ip: IpAddress): string {
  if (ip.length === 4) return ip.join('.')
  const hex = Buffer.from(ip).toString('hex')
  return hex.match(/.{4}/g)!.join(':')
}

/** The address of a connection in {@link formatIp}'s form; IPv4 that came in over an IPv6 socket is IPv4 again. */
export function normalizeRemoteAddress(text: string): string {
  let known = normalized.get(text)
  if (known === undefined) normalized.set(text, (known = normalize(text)))
  return known
}

/** Every request asks for the address of its connection, and proxies send many by one. */
const normalized = new LruMap<string, string>(1_000)

function normalize(text: string): string {
  const zone = text.indexOf('%')
  const ip = parseIp(zone < 0 ? text : text.slice(0, zone))
  if (ip === null) return ''
  const isMapped =
    ip.length === 16 && ip.subarray(0, 10).every((byte) => byte === 0) && ip[10] === 255 && ip[11] === 255
  return formatIp(isMapped ? ip.subarray(12) : ip)
}

/** Whether `text` is an address or a subnet in CIDR notation. */
export function isIpOrSubnet(text: string): boolean {
  return parseIp(text) !== null || parseSubnet(text) !== null
}

/** Whether `ip` is one of the addresses or lies in one of the subnets. What cannot be read matches nothing. */
export function isIpInList(ipsOrSubnets: readonly string[], ip: string): boolean {
  if (ipsOrSubnets.length === 0) return false
  const wanted = parseIp(ip)
  if (wanted === null) return false
  return ipsOrSubnets.some((item) => {
    const subnet = parseSubnet(item)
    if (subnet !== null) return contains(subnet, wanted)
    const single = parseIp(item)
    return single !== null && Buffer.compare(single, wanted) === 0
  })
}

interface Subnet {
  readonly base: IpAddress
  readonly bits: number
}

function parseSubnet(text: string): Subnet | null {
  const slash = text.lastIndexOf('/')
  if (slash < 0) return null
  const base = parseIp(text.slice(0, slash))
  const bitsText = text.slice(slash + 1)
  if (base === null || !/^(?:0|[1-9]\d{0,2})$/.test(bitsText)) return null
  const bits = Number(bitsText)
  return bits <= base.length * 8 ? { base, bits } : null
}

function contains({ base, bits }: Subnet, ip: IpAddress): boolean {
  if (base.length !== ip.length) return false
  const wholeBytes = bits >> 3
  for (let i = 0; i < wholeBytes; i++) if (base[i] !== ip[i]) return false
  const restBits = bits & 7
  if (restBits === 0) return true
  const mask = (0xff << (8 - restBits)) & 0xff
  return (base[wholeBytes]! & mask) === (ip[wholeBytes]! & mask)
}

function parseIpv4(text: string): IpAddress | null {
  const octets = text.split('.')
  if (octets.length !== 4) return null
  const ip = new Uint8Array(4)
  for (const [i, octet] of octets.entries()) {
    if (!/^(?:0|[1-9]\d{0,2})$/.test(octet) || Number(octet) > 255) return null
    ip[i] = Number(octet)
  }
  return ip
}

function parseIpv6(text: string): IpAddress | null {
  if (text.length > 45) return null // eight groups, or six and a dotted IPv4
  const halves = text.split('::')
  if (halves.length > 2) return null
  const head = parseGroups(halves[0]!, halves.length === 1)
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : []
  if (head === null || tail === null) return null
  const missing = 16 - head.length - tail.length
  if (halves.length === 2 ? missing < 2 : missing !== 0) return null
  const ip = new Uint8Array(16)
  ip.set(head)
  ip.set(tail, 16 - tail.length)
  return ip
}

/** The bytes of groups joined by `:`; `mayEndDotted`: the last one may be an IPv4 address. */
function parseGroups(text: string, mayEndDotted: boolean): number[] | null {
  if (text === '') return []
  const bytes: number[] = []
  const groups = text.split(':')
  for (const [i, group] of groups.entries()) {
    if (mayEndDotted && i === groups.length - 1 && group.includes('.')) {
      const dotted = parseIpv4(group)
      if (dotted === null) return null
      bytes.push(...dotted)
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return null
      const value = Number.parseInt(group, 16)
      bytes.push(value >> 8, value & 0xff)
    }
  }
  return bytes
}
