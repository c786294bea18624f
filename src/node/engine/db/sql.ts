// SQL text and values, as far as every part of the engine shares them.

/** What SQLite takes and gives. */
export type SqlValue = string | number | bigint | boolean | null | Uint8Array
export type Row = Record<string, SqlValue>

/** Named or positional parameters. */
export type SqlParams = readonly SqlValue[]

/** A quoted identifier. Names are checked where they are made; quoting alone keeps any text harmless. */
export function quoteName(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

/** A quoted string literal, for DDL, which takes no parameters. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
