// Which requests a world is asked, and how often each kind.

import type { Generator } from './generator.ts'
import type { RequestPlan } from './plans.ts'
import { askAuth } from './requests/auth.ts'
import { sendBatch } from './requests/batch.ts'
import { changeCollection } from './requests/collections.ts'
import { downloadFile, writeForm } from './requests/files.ts'
import { createRecord, deleteRecord, listRecords, updateRecord, viewRecord } from './requests/records.ts'
import { askSettings } from './requests/settings.ts'

/** In percent. Reads are most of it, as their grammar is the largest. */
const weights: readonly (readonly [number, (generator: Generator, index: number) => RequestPlan])[] = [
  [42, listRecords],
  [9, viewRecord],
  [7, createRecord],
  [9, updateRecord],
  [3, deleteRecord],
  [6, writeForm],
  [7, downloadFile],
  [4, sendBatch],
  [4, askAuth],
  [7, changeCollection],
  [2, askSettings],
]

/** The next request of a world. @param index of the request, from 0. */
export function nextRequest(generator: Generator, index: number): RequestPlan {
  let at = generator.rng.below(100)
  for (const [weight, make] of weights) {
    if (at < weight) return make(generator, index)
    at -= weight
  }
  throw new Error('the weights are less than 100')
}
