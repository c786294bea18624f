// What each area of the SDK tests runs against: a server with one superuser, reached over HTTP by the official SDK.

import { expect } from 'bun:test'
import { EventSource } from 'eventsource'
import PocketBase, { ClientResponseError } from 'pocketbase'
import type { MailServer } from '../../support/mail-server.ts'
import type { OidcProvider } from '../../support/oidc-provider.ts'

export const superuser = { email: 'root@example.com', password: 'a-long-root-password' }
export const password = 'password123'

export interface SdkWorld {
  readonly url: string
  /** Signed in as the superuser. */
  readonly root: PocketBase
}

/** With a mail server in its settings and an OpenID provider that it may reach. */
export interface SdkAuthWorld extends SdkWorld {
  readonly mail: MailServer
  readonly oidc: OidcProvider
}

/** Set before the first test of an area runs; areas are declared earlier. */
export type WorldOf<World extends SdkWorld = SdkWorld> = () => World

/** A new client without automatic cancellation. */
export function newClient(url: string): PocketBase {
  // Bun has no EventSource of its own; the SDK's documentation asks for this polyfill.
  Object.assign(globalThis, { EventSource })
  const client = new PocketBase(url)
  client.autoCancellation(false)
  return client
}

export async function signedIn(url: string): Promise<PocketBase> {
  const root = newClient(url)
  await root.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  return root
}

/** The error that `work` must end with. */
export async function refusal(work: Promise<unknown>): Promise<ClientResponseError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ClientResponseError)
  return error as ClientResponseError
}

export async function refusedStatus(work: Promise<unknown>): Promise<number> {
  return (await refusal(work)).status
}

/** Runs `body` while `console.warn` collects: deprecated calls of the SDK still work, and say so. */
export async function withWarnings<T>(body: () => T | Promise<T>): Promise<{ value: T; warnings: string[] }> {
  const { warn } = console
  const warnings: string[] = []
  console.warn = (...args: unknown[]) => void warnings.push(args.join(' '))
  try {
    return { value: await body(), warnings }
  } finally {
    console.warn = warn
  }
}

/** The smallest picture that is one: 2 × 2 pixels, PNG. */
export function picture(name = 'picture.png'): File {
  const base64 =
    'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFElEQVR4nGP4z8DAAMIM/////w8AH+4F+7C4l8kAAAAASUVORK5CYII='
  return new File([Uint8Array.fromBase64(base64)], name, { type: 'image/png' })
}
