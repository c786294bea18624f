// What can be wrong with a shipped history.

import type { Txid } from '../lib/brand.ts'
import { AppError } from '../lib/errors.ts'
import { LtxFormatError } from './ltx/errors.ts'
import type { LtxFile } from './ltx-store.ts'

/** The shipped history has a hole. Restoring past it would silently lose writes, so no caller may continue. */
export class LtxGapError extends AppError {
  readonly code = 'ltx_gap'
  readonly expected: Txid
  /** null: history ends before the target. */
  readonly found: Txid | null
  constructor(expected: Txid, found: Txid | null, options?: ErrorOptions) {
    super(`expected an LTX file from TXID ${expected}, found ${found ?? 'none'}`, options)
    this.expected = expected
    this.found = found
  }
}

/** A file of the history is damaged, or not what its name says. The message names the object. */
export class DamagedFileError extends LtxFormatError {
  readonly file: LtxFile
  constructor(file: LtxFile, message: string, options?: ErrorOptions) {
    super(message, options)
    this.file = file
  }
}

/** No file of this database was ever shipped. A database exists only from its slot 1 on, so this is not "a new one". */
export class NeverShippedError extends AppError {
  readonly code = 'never_shipped'
  constructor(prefix: string, options?: ErrorOptions) {
    super(`${prefix} holds no history of a database`, options)
  }
}

/** The history is owned under a higher epoch than ours: we are the old owner and must touch nothing. */
export class StaleEpochError extends AppError {
  readonly code = 'stale_epoch'
  readonly ownEpoch: number
  readonly foundEpoch: number
  constructor(prefix: string, ownEpoch: number, foundEpoch: number, options?: ErrorOptions) {
    super(`${prefix} belongs to epoch ${foundEpoch}; ours is ${ownEpoch}`, options)
    this.ownEpoch = ownEpoch
    this.foundEpoch = foundEpoch
  }
}

/** Somebody else took the next slot of the history: this owner is fenced and acknowledges nothing any more. */
export class FencedError extends AppError {
  readonly code = 'fenced'
  readonly txid: Txid
  /** Epoch of the file in the slot. */
  readonly foundEpoch: number
  constructor(prefix: string, txid: Txid, foundEpoch: number, options?: ErrorOptions) {
    super(`slot ${txid} of ${prefix} was taken by epoch ${foundEpoch}`, options)
    this.txid = txid
    this.foundEpoch = foundEpoch
  }
}

/** slot 1 exists already where a new history was to begin. */
export class HistoryExistsError extends AppError {
  readonly code = 'history_exists'
  constructor(prefix: string, options?: ErrorOptions) {
    super(`${prefix} holds a history already`, options)
  }
}
