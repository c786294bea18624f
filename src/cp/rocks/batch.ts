import type { NativeOperation } from './binding.ts'

const view = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Writes that become visible and durable together. The bytes must not change until the batch is written. */
export class Batch {
  readonly operations: NativeOperation[] = []

  put(key: Uint8Array, value: Uint8Array): void {
    this.operations.push({ type: 'put', key: view(key), value: view(value) })
  }

  delete(key: Uint8Array): void {
    this.operations.push({ type: 'del', key: view(key) })
  }
}
