// Rows of one kind that are looked up by their tenant alone: in memory, and as they lie in RocksDB below `s/<letter>/`.

import type { TenantId } from '../../lib/brand.ts'
import { utf8 } from '../../lib/bytes.ts'

/** One row to write, or to delete when `value` is null. */
export interface RowWrite {
  readonly key: Uint8Array
  readonly value: Uint8Array | null
}

/** One row as it is stored. */
export interface StoredRow {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

export class TenantRows<Row extends { readonly tenantId: TenantId }> {
  readonly letter: string
  readonly #codec: { encode(row: Row): Uint8Array; decode(bytes: Uint8Array): Row }
  readonly #rows = new Map<TenantId, Row>()

  constructor(letter: string, codec: { encode(row: Row): Uint8Array; decode(bytes: Uint8Array): Row }) {
    this.letter = letter
    this.#codec = codec
  }

  get(id: TenantId): Row | undefined {
    return this.#rows.get(id)
  }

  all(): Iterable<Row> {
    return this.#rows.values()
  }

  /** In memory at once; what is returned makes it durable. */
  put(row: Row): RowWrite {
    this.#rows.set(row.tenantId, row)
    return this.#stored(row)
  }

  remove(id: TenantId): RowWrite {
    this.#rows.delete(id)
    return { key: this.#keyOf(id), value: null }
  }

  /** Takes over a stored row; throws DecodeError. */
  load(value: Uint8Array): void {
    const row = this.#codec.decode(value)
    this.#rows.set(row.tenantId, row)
  }

  /** Every row, in the order in which the tenants came. */
  *stored(): Generator<StoredRow> {
    for (const row of this.#rows.values()) yield this.#stored(row)
  }

  #stored(row: Row): StoredRow {
    return { key: this.#keyOf(row.tenantId), value: this.#codec.encode(row) }
  }

  #keyOf(id: TenantId): Uint8Array {
    return utf8(`s/${this.letter}/${id}`)
  }
}
