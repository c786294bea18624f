// The chains around changes of collections, as PocketBase names them. Those of models run inside, as for records.

import type { MaybePromise } from '../../../lib/result.ts'
import type { Chains } from '../chains.ts'
import type { HookChain } from '../hook-chain.ts'
import type { CollectionErrorEvent, CollectionEvent } from '../hook-events.ts'
import { triggerModel } from '../records/events.ts'
import type { Collection } from './collection.ts'

type Action = 'Create' | 'Update' | 'Delete'

interface ChainNames {
  readonly change: `onCollection${Action}`
  readonly execute: `onCollection${Action}Execute`
  readonly success: `onCollectionAfter${Action}Success`
  readonly error: `onCollectionAfter${Action}Error`
}

function namesOf(action: Action): ChainNames {
  return {
    change: `onCollection${action}`,
    execute: `onCollection${action}Execute`,
    success: `onCollectionAfter${action}Success`,
    error: `onCollectionAfter${action}Error`,
  }
}

export const createChains = namesOf('Create')
export const updateChains = namesOf('Update')
export const deleteChains = namesOf('Delete')

interface CollectionHost {
  readonly chains: Chains
}

/** Runs a chain of collections, and that of models inside it. */
export function triggerCollection<E extends CollectionEvent>(
  { chains }: CollectionHost,
  name: keyof Chains & `onCollection${string}`,
  facts: Omit<E, 'next'>,
  finalizer: (event: E) => MaybePromise<void>,
): MaybePromise<void> {
  const chain = chains[name] as unknown as HookChain<E>
  const model = chains[name.replace('onCollection', 'onModel') as 'onModelCreate']
  const event = { ...facts, next() {} } as unknown as E
  const { id, name: collectionName } = event.collection
  const tags = [id, collectionName]
  return chain.trigger(event, () => triggerModel(model, event.collection, tags, facts, () => finalizer(event)), tags)
}

/**
 * Runs one change inside its chains.
 *
 * @param prepare checks what is to be stored; what it returns then does the work.
 * @returns what the work made, or `collection` when a handler stopped it.
 */
export async function changeCollection(
  host: CollectionHost,
  names: ChainNames,
  collection: Collection,
  prepare: (collection: Collection) => Promise<(collection: Collection) => Promise<Collection>>,
): Promise<Collection> {
  let stored: Collection | null = null
  try {
    await triggerCollection(host, names.change, { collection }, async (outer) => {
      const work = await prepare(outer.collection)
      await triggerCollection(host, names.execute, { collection: outer.collection }, async (inner) => {
        stored = await work(inner.collection)
      })
    })
  } catch (error) {
    await triggerCollection<CollectionErrorEvent>(host, names.error, { collection, error }, () => {})
    throw error
  }
  if (stored === null) return collection
  await triggerCollection(host, names.success, { collection: stored }, () => {})
  return stored
}
