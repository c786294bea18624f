// Expands the frames of one range of an LTX file into a database file. What a restore thread does.

import { closeSync, openSync } from 'node:fs'
import { Crc64 } from '../lib/crc/crc64.ts'
import { decodeFrame } from './ltx/decoder.ts'
import { blockFlag, blockSizeBytes, frameHeaderBytes } from './ltx/encoder.ts'
import { LtxFormatError } from './ltx/errors.ts'
import type { PieceChecksum } from './ltx/page-index.ts'
import { PageWriter } from './page-writer.ts'

/** A range with its bytes, and the file that its pages go to. */
export interface DecodeRun {
  readonly path: string
  readonly pageSize: number
  readonly bytes: Uint8Array
  /** Where the range begins in its file, for errors. */
  readonly from: number
  readonly pgnos: Uint32Array
  readonly wanted: Uint8Array
  /** Sum all frames up, unwanted ones too. */
  readonly withChecksum: boolean
}

/**
 * Writes the wanted pages at their places. The index promised these pages at these bytes; a range that holds others, or
 * does not end where its last frame does, throws LtxFormatError with the offset in the file.
 *
 * @returns what the file checksum covers of these frames; zeros without `withChecksum`.
 */
export function decodeRun(run: DecodeRun): PieceChecksum {
  const { bytes, pgnos, wanted, pageSize } = run
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const crc = run.withChecksum ? new Crc64() : null
  const unwanted = new Uint8Array(pageSize)
  let at = 0
  let length = 0
  const fd = openSync(run.path, 'r+')
  try {
    const writer = new PageWriter(fd, pageSize)
    for (let i = 0; i < pgnos.length; i++) {
      const pgno = pgnos[i]!
      if (at + frameHeaderBytes > bytes.length || view.getUint32(at) !== pgno)
        throw new LtxFormatError(`page ${pgno} is not where the index says`)
      length += pageSize + frameHeaderBytes + (view.getUint16(at + 4) === blockFlag ? blockSizeBytes : 0)
      at = decodeFrame(bytes, view, at, wanted[i] === 1 ? writer.place(pgno) : unwanted, crc)
    }
    if (at !== bytes.length) throw new LtxFormatError('the frames end before their range does')
    writer.flush()
  } catch (error) {
    if (error instanceof LtxFormatError) throw new LtxFormatError(`${error.message}, at byte ${run.from + at}`)
    throw error
  } finally {
    closeSync(fd)
  }
  return crc === null ? { crc: 0n, length: 0 } : { crc: crc.value, length }
}
