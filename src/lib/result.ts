// A domain outcome is a value. `Result` is what a caller must open before it can go on.

export type Ok<T> = { readonly ok: true; readonly value: T }
export type Err<E> = { readonly ok: false; readonly error: E }
export type Result<T, E> = Ok<T> | Err<E>

export function ok<T>(value: T): Ok<T> {
  return { ok: true, value }
}

export function err<E>(error: E): Err<E> {
  return { ok: false, error }
}

/** A value that may be there at once: hot paths answer synchronously, slow ones with a promise. */
export type MaybePromise<T> = T | Promise<T>
