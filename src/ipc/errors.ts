// How a request to a peer fails. TimeoutError and OverloadedError come from `lib/errors.ts`.

import { AppError } from '../lib/errors.ts'

/** The peer answered with an error. `code` is the peer's own; match on it. */
export class RemoteError extends AppError {
  readonly code: string
  readonly data: unknown
  constructor(code: string, message: string, data?: unknown) {
    super(message)
    this.code = code
    this.data = data
  }
}

/**
 * There is no connection to the peer.
 *
 * `delivered: 'no'`: the request never left this process, so repeating it elsewhere is always safe. `'unknown'`: the
 * connection was lost while the request was under way; only an idempotent request may be repeated.
 */
export class PeerUnreachableError extends AppError {
  readonly code = 'peer_unreachable'
  readonly delivered: 'no' | 'unknown'
  constructor(message: string, delivered: 'no' | 'unknown', options?: ErrorOptions) {
    super(message, options)
    this.delivered = delivered
  }
}

/** A handler refuses with a code of its own; it reaches the caller as {@link RemoteError}. */
export class RpcRefusal extends AppError {
  readonly code: string
  readonly data: unknown
  constructor(code: string, message: string, data?: unknown) {
    super(message)
    this.code = code
    this.data = data
  }
}

/** A message or address that we were about to send is not sendable: too large, or not made of plain data. */
export class EncodeError extends AppError {
  readonly code = 'encode'
}

/** The socket layer failed in a way that is not about one peer: no library, address in use, out of descriptors. */
export class MessagingError extends AppError {
  readonly code = 'messaging'
}
