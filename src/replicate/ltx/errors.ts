import { AppError } from '../../lib/errors.ts'

/** Bytes that are no LTX file, or a damaged one. */
export class LtxFormatError extends AppError {
  readonly code = 'ltx_format'
}
