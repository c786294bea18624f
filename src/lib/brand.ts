// Branded primitives, so that two ids or two numbers of different meaning cannot be swapped.

declare const brand: unique symbol
export type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** Made by the server, never reused; names the object prefix of the tenant. See {@link isTenantId}. */
export type TenantId = Brand<string, 'TenantId'>
/** The changeable name of a tenant that makes its host; lower case, a DNS label. */
export type Slug = Brand<string, 'Slug'>
/** A tenant node; never a Raft member. */
export type NodeId = Brand<string, 'NodeId'>
/** Rises with every placement of a tenant; starts at 1. Fits 32 bits (it shares the LTX node id field). */
export type Epoch = Brand<number, 'Epoch'>
export const firstEpoch = 1 as Epoch
/** A transaction of one database, from 1. 2^53 lasts 285 years at a million a second. */
export type Txid = Brand<number, 'Txid'>
/** Milliseconds since the Unix epoch. */
export type TimestampMs = number

const tenantIdPattern = /^[a-z0-9]{15}$/
const slugPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
const nodeIdPattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,62})$/

/** 15 characters of a–z and 0–9: safe in paths, keys, headers and host names. */
export function isTenantId(text: string): text is TenantId {
  return tenantIdPattern.test(text)
}

/** A DNS label of 1 to 63 characters, lower case. Reserved names are the control plane's matter. */
export function isSlug(text: string): text is Slug {
  return slugPattern.test(text)
}

export function isNodeId(text: string): text is NodeId {
  return nodeIdPattern.test(text)
}
