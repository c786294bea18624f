// Requests and the chains around them.

import type { MaybePromise } from '../../lib/result.ts'
import type { Collection } from '../engine/collections/collection.ts'
import type { HookChain } from '../engine/hook-chain.ts'
import type { RequestHookEvent } from '../engine/hook-events.ts'

/** What a request puts into its event; the rest is filled in here. */
export type HookFacts<E extends RequestHookEvent> = Omit<E, 'next' | 'response'>

/**
 * Runs the handlers of `chain` around `respond`, which reads from the event what they may have replaced. Without
 * handlers it is one call.
 *
 * @returns the answer of `respond`, or of the handler that gave one; an empty 200 when a handler just stopped, as in
 *   PocketBase.
 */
export function hooked<E extends RequestHookEvent>(
  chain: HookChain<E>,
  facts: HookFacts<E>,
  respond: (event: E) => MaybePromise<Response>,
): MaybePromise<Response> {
  const event = eventOf<E>(facts)
  if (chain.isEmpty) return respond(event)
  return answer(chain, event, respond)
}

async function answer<E extends RequestHookEvent>(
  chain: HookChain<E>,
  event: E,
  respond: (event: E) => MaybePromise<Response>,
): Promise<Response> {
  const finalizer = async () => {
    event.response = await respond(event)
  }
  await chain.trigger(event, finalizer, tagsOf(event))
  return event.response ?? new Response(null)
}

/**
 * The same for work whose result is not an answer yet: a record that a batch or a sign-in goes on with.
 *
 * @returns a Response when a handler stopped the work.
 */
export async function hookedWork<E extends RequestHookEvent, T>(
  chain: HookChain<E>,
  facts: HookFacts<E>,
  work: (event: E) => Promise<T>,
): Promise<T | Response> {
  const event = eventOf<E>(facts)
  if (chain.isEmpty) return work(event)
  let done: { readonly result: T } | null = null
  const finalizer = async () => {
    done = { result: await work(event) }
  }
  await chain.trigger(event, finalizer, tagsOf(event))
  return event.response ?? (done as { readonly result: T } | null)?.result ?? new Response(null)
}

function eventOf<E extends RequestHookEvent>(facts: HookFacts<E>): E {
  return Object.assign(facts, { response: null, next() {} }) as unknown as E
}

function tagsOf(event: RequestHookEvent): readonly string[] {
  const collection = 'collection' in event ? (event.collection as Collection | null) : null
  return collection === null ? [] : [collection.id, collection.name]
}
