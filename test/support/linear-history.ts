// One line of writers: whether two processes ever wrote one history, told from the slots themselves.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeLtxHeader, ltxHeaderBytes } from '../../src/replicate/ltx/header.ts'

/**
 * Reads every slot of every database below a directory store and throws unless slots are dense, time never goes back,
 * epochs never fall, and no writer comes back after another one took over.
 *
 * @returns how many slots of how many writers were read.
 */
export function checkLinearHistories(objects: string): { readonly slots: number; readonly writers: number } {
  let slots = 0
  let writers = 0
  const tenants = join(objects, 't')
  for (const tenant of readdirSync(tenants)) {
    for (const name of ['data.db', 'auxiliary.db', 'hooks.db']) {
      const folder = join(tenants, tenant, name, 'ltx/0')
      const seen = new Set<string>()
      let previous: { txid: number; timestampMs: number; epoch: number; writer: string } | null = null
      for (const file of readdirSync(folder)
        .filter((each) => each.endsWith('.ltx'))
        .sort()) {
        const header = decodeLtxHeader(new Uint8Array(readFileSync(join(folder, file)).subarray(0, ltxHeaderBytes)))
        const { epoch, incarnation } = header.writer
        const writer = `${epoch}/${incarnation}`
        const where = `${tenant}/${name} slot ${header.minTxid}`
        if (header.minTxid !== header.maxTxid) throw new Error(`${where}: a slot of several transactions`)
        if (previous !== null) {
          if (header.minTxid !== previous.txid + 1) throw new Error(`${where}: follows ${previous.txid}`)
          if (header.timestampMs < previous.timestampMs) throw new Error(`${where}: time goes back`)
          if (epoch < previous.epoch) throw new Error(`${where}: epoch ${epoch} after ${previous.epoch}`)
          if (writer !== previous.writer && seen.has(writer)) throw new Error(`${where}: writer ${writer} is back`)
        }
        seen.add(writer)
        previous = { txid: header.maxTxid, timestampMs: header.timestampMs, epoch, writer }
        slots++
      }
      writers += seen.size
    }
  }
  return { slots, writers }
}
