// From what a request names to whom it is for. Pure. A tenant is named by its host; the header `X-Tenant-ID` counts only
// where the host names nobody, or one tenant's page could be made to speak to another tenant.

import type { RouteKey } from '../../ipc/messages/cp-gateway.ts'
import { isSlug, isTenantId } from '../../lib/brand.ts'

/** The first label of hosts that belong to the platform: account dashboard, cluster dashboard, API. */
export const reservedLabels: ReadonlySet<string> = new Set(['app', 'admin', 'api'])

/** RFC 1035: longest host name in characters. */
const hostLengthMax = 253

export type Target =
  /** `isBare`: the base domain itself, `localhost` or an IP address, where the gateway's own endpoints are too. */
  | { readonly kind: 'control-plane'; readonly isBare: boolean }
  | { readonly kind: 'tenant'; readonly key: RouteKey }
  | { readonly kind: 'invalid'; readonly status: 400 | 404; readonly message: string }

const invalidHost: Target = { kind: 'invalid', status: 400, message: 'Invalid Host header.' }
export const unknownTenantMessage = 'There is no tenant here.'
const unknownHost: Target = { kind: 'invalid', status: 404, message: unknownTenantMessage }
const invalidTenant: Target = { kind: 'invalid', status: 400, message: 'Invalid X-Tenant-ID header.' }

/**
 * @param host the Host header as received.
 * @param tenantHeader the content of `X-Tenant-ID`, or null.
 * @param baseDomain lower case, without port.
 */
export function targetOf(host: string | null, tenantHeader: string | null, baseDomain: string): Target {
  const name = host === null ? null : hostName(host)
  if (name === null) return invalidHost
  if (name === baseDomain || name === 'localhost' || isIpAddress(name)) {
    if (tenantHeader === null) return { kind: 'control-plane', isBare: true }
    const reference = tenantHeader.trim().toLowerCase()
    if (!isTenantId(reference) && !isSlug(reference)) return invalidTenant
    return { kind: 'tenant', key: { kind: 'reference', reference } }
  }
  if (name.endsWith(`.${baseDomain}`)) {
    const label = name.slice(0, -baseDomain.length - 1)
    if (reservedLabels.has(label)) return { kind: 'control-plane', isBare: false }
    return isSlug(label) ? { kind: 'tenant', key: { kind: 'slug', slug: label } } : unknownHost
  }
  return { kind: 'tenant', key: { kind: 'domain', domain: name } }
}

/**
 * The name in a Host header, lower case, without port and trailing dot; IPv6 without brackets. Null when it is not a
 * valid host.
 */
export function hostName(host: string): string | null {
  if (host.startsWith('[')) {
    const match = /^\[([0-9a-f:.]{2,45})\](?::\d{1,5})?$/i.exec(host)
    return match === null || !match[1]!.includes(':') ? null : match[1]!.toLowerCase()
  }
  const match = /^([a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)\.?(?::(\d{1,5}))?$/i.exec(host)
  if (match === null || Number(match[2] ?? 0) > 65_535) return null
  const name = match[1]!.toLowerCase()
  if (name.length > hostLengthMax || name.includes('..')) return null
  return name
}

function isIpAddress(name: string): boolean {
  return name.includes(':') || /^\d{1,3}(?:\.\d{1,3}){3}$/.test(name)
}

export const routeKeyKinds = ['slug', 'domain', 'reference'] as const satisfies readonly RouteKey['kind'][]

/** One string per key, for maps: the kind, a colon, the name. */
export function routeKeyId(key: RouteKey): string {
  switch (key.kind) {
    case 'slug':
      return `slug:${key.slug}`
    case 'domain':
      return `domain:${key.domain}`
    case 'reference':
      return `reference:${key.reference}`
  }
}

/** The name that a key carries, as broadcasts list them. */
export function routeKeyName(key: RouteKey): string {
  switch (key.kind) {
    case 'slug':
      return key.slug
    case 'domain':
      return key.domain
    case 'reference':
      return key.reference
  }
}
