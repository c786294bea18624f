// Human tables by default, JSON for scripts.

export interface Column<Row> {
  readonly title: string
  readonly text: (row: Row) => string
}

/** Left-aligned columns, two spaces apart; a title line first. */
export function renderTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const cells = [
    columns.map((column) => column.title.toUpperCase()),
    ...rows.map((row) => columns.map((each) => each.text(row))),
  ]
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => Bun.stringWidth(line[index]!))))
  return cells
    .map((line) =>
      line
        .map((cell, index) =>
          index === line.length - 1 ? cell : cell + ' '.repeat(widths[index]! - Bun.stringWidth(cell)),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** `key: value` lines, aligned, for one thing. */
export function renderDetails(details: Readonly<Record<string, unknown>>): string {
  const width = Math.max(...Object.keys(details).map((key) => key.length))
  return Object.entries(details)
    .map(([key, value]) => `${key.padEnd(width)}  ${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join('\n')
}

/** Prints `value` as JSON when asked to, else what `human` makes of it. */
export function print<T>(value: T, asJson: boolean, human: (value: T) => string): void {
  console.log(asJson ? JSON.stringify(value, null, 2) : human(value))
}
