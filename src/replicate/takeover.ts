// A hint from a new owner to an old one that ships without a pause. Who waits for each slot needs two round trips where
// the old owner needs one, so it could lose every race. The hint is no lock: slots are. It only makes the old owner look.

import { fromUtf8, utf8 } from '../lib/bytes.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import type { HistoryLocation } from './ltx-store.ts'

const version = 1

function takeoverKey(at: HistoryLocation): string {
  return `${at.prefix}/takeover.json`
}

/** Says that the owner of `epoch` wants the history. A later call replaces an earlier one, whoever made it. */
export async function announceTakeover(at: HistoryLocation, epoch: number, signal?: AbortSignal): Promise<void> {
  const body = utf8(JSON.stringify({ version, epoch }))
  await at.store.put(takeoverKey(at), body, signal === undefined ? {} : { signal })
}

/** The epoch that was announced last; 0 when none was. */
export async function announcedEpoch(at: HistoryLocation, signal?: AbortSignal): Promise<number> {
  try {
    const bytes = await at.store.get(takeoverKey(at), signal === undefined ? {} : { signal })
    const epoch = (JSON.parse(fromUtf8(bytes)) as { readonly epoch?: unknown } | null)?.epoch
    return Number.isSafeInteger(epoch) ? (epoch as number) : 0
  } catch (error) {
    // A hint that cannot be read hints at nothing.
    if (error instanceof ObjectNotFoundError || error instanceof SyntaxError) return 0
    throw error
  }
}
