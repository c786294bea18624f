// The client's address behind proxies. Which headers may be believed is a setting of the tenant, because only its
// admin knows what stands in front of it.

import type { TrustedProxySettings } from '../settings/settings.ts'
import { formatIp, parseIp } from './ip.ts'

/** Addresses looked at in one header; proxies add one each. */
const hopsMax = 100

/**
 * @param remoteAddress of the connection, as `normalizeRemoteAddress` writes it.
 * @returns the address the first trusted header gives, else `remoteAddress`.
 */
export function resolveRealIp(headers: Headers, remoteAddress: string, trusted: TrustedProxySettings): string {
  for (const name of trusted.headers) {
    const value = headerOf(headers, name)
    if (value === null || value === '') continue
    const hops = value.split(',')
    const nearest = hops.slice(-hopsMax)
    // The right-most entry was written by the proxy next to us; the left-most one by whoever asked first.
    const ordered = trusted.useLeftmostIP ? hops.slice(0, hopsMax) : nearest.reverse()
    for (const hop of ordered) {
      const ip = parseIp(hop.trim())
      if (ip !== null) return formatIp(ip)
    }
  }
  return remoteAddress
}

function headerOf(headers: Headers, name: string): string | null {
  try {
    return headers.get(name)
  } catch {
    return null // a setting that is no header name
  }
}
