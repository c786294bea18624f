// One line of writers: whether two processes ever wrote one history, told from the slots themselves.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeLtxHeader, type LtxHeader, ltxHeaderBytes } from '../../src/replicate/ltx/header.ts'
import { type HistoryLocation, listLtx, ltxKey } from '../../src/replicate/ltx-store.ts'

type Slot = Pick<LtxHeader, 'minTxid' | 'maxTxid' | 'timestampMs' | 'writer'>

/** Throws unless slots are dense, time never goes back, epochs never fall, and no writer comes back after another. */
function checkSlots(name: string, slots: readonly Slot[]): { readonly slots: number; readonly writers: number } {
  const seen = new Set<string>()
  let previous: { readonly slot: Slot; readonly writer: string } | null = null
  for (const slot of slots) {
    const { epoch, incarnation } = slot.writer
    const writer = `${epoch}/${incarnation}`
    const where = `${name} slot ${slot.minTxid}`
    if (slot.minTxid !== slot.maxTxid) throw new Error(`${where}: a slot of several transactions`)
    if (previous !== null) {
      const before = previous.slot
      if (slot.minTxid !== before.maxTxid + 1) throw new Error(`${where}: follows ${before.maxTxid}`)
      if (slot.timestampMs < before.timestampMs) throw new Error(`${where}: time goes back`)
      if (epoch < before.writer.epoch) throw new Error(`${where}: epoch ${epoch} after ${before.writer.epoch}`)
      if (writer !== previous.writer && seen.has(writer)) throw new Error(`${where}: writer ${writer} is back`)
    }
    seen.add(writer)
    previous = { slot, writer }
  }
  return { slots: slots.length, writers: seen.size }
}

/**
 * Reads every slot of every database below a directory store and throws unless each has one line of writers.
 *
 * @returns how many slots of how many writers were read.
 */
export function checkLinearHistories(objects: string): { readonly slots: number; readonly writers: number } {
  const total = { slots: 0, writers: 0 }
  const tenants = join(objects, 't')
  for (const tenant of readdirSync(tenants)) {
    for (const name of ['data.db', 'auxiliary.db', 'hooks.db']) {
      const folder = join(tenants, tenant, name, 'ltx/0')
      const headers = readdirSync(folder)
        .filter((each) => each.endsWith('.ltx'))
        .sort()
        .map((file) => decodeLtxHeader(new Uint8Array(readFileSync(join(folder, file)).subarray(0, ltxHeaderBytes))))
      const { slots, writers } = checkSlots(`${tenant}/${name}`, headers)
      total.slots += slots
      total.writers += writers
    }
  }
  return total
}

/** The same for one history in any store. */
export async function checkLinearHistory(
  at: HistoryLocation,
): Promise<{ readonly slots: number; readonly writers: number }> {
  const files = (await listLtx(at)).filter(({ level }) => level === 0).sort((a, b) => a.minTxid - b.minTxid)
  const headers: Slot[] = []
  for (const file of files)
    headers.push(decodeLtxHeader(await at.store.get(ltxKey(at, file), { range: { from: 0, to: ltxHeaderBytes } })))
  return checkSlots(at.prefix, headers)
}
