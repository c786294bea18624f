// How many rows a statement may have to look at, judged from SQLite's program for it (`EXPLAIN`). Pure.
//
// The program and not `EXPLAIN QUERY PLAN`, because that one names tables by their aliases: a filter that joins a table
// under another name, or a view, could not be told from what it stands for. A program opens each table by its root page.
// Its opcodes are not a stable interface of SQLite; the tests of this file say what is relied upon.

/** One row of `EXPLAIN`. */
export interface Instruction {
  readonly addr: number
  readonly opcode: string
  readonly p1: number
  readonly p2: number
  readonly p3: number
}

/** What a loop goes over: a table or index by its root page, a number of rows, or as many as the largest table has. */
type Loop = { readonly rootPage: number; readonly share: number } | { readonly rows: number } | 'largest'

/** Loops that a statement runs, each with those around it; their product is what it costs. */
export interface ScanShape {
  readonly nests: readonly (readonly Loop[])[]
  /** Every table and index that is opened. */
  readonly rootPages: readonly number[]
}

/** Rows of a table function such as json_each, and of what is only known to be a list. */
const listRows = 10
/** Rows of one page of an answer. */
const pageRows = 1_000
/** `COUNT(*)` adds up pages instead of visiting rows. */
const countShare = 0.01

interface Span {
  readonly from: number
  readonly to: number
  readonly loop: Loop
}

/** Reads a program. */
export function scanShape(program: readonly Instruction[]): ScanShape {
  const rootPages = new Map<number, number>()
  const spans: Span[] = []
  const once: { from: number; to: number }[] = []
  const nests: Loop[][] = []
  for (const { addr, opcode, p1, p2, p3 } of program) {
    switch (opcode) {
      case 'OpenRead':
      case 'ReopenIdx':
        if (p3 === 0) rootPages.set(p1, p2)
        break
      case 'Once':
        once.push({ from: addr, to: p2 })
        break
      case 'Count':
        nests.push([{ rootPage: rootPages.get(p1) ?? 0, share: countShare }])
        break
      case 'Next':
      case 'Prev': {
        const rootPage = rootPages.get(p1)
        spans.push({ from: p2, to: addr, loop: loopOver(rootPage, endsWithItsPage(program, p2, addr)) })
        break
      }
      case 'VNext':
        spans.push({ from: p2, to: addr, loop: { rows: listRows } })
        break
      case 'Goto':
        // Back to a Yield: rows of a subquery, made by loops that stand elsewhere in the program.
        if (p2 < addr && program[p2]?.opcode === 'Yield')
          spans.push({ from: p2, to: addr, loop: hasLoop(program, program[p2].p1) ? 'largest' : { rows: 1 } })
        // Back to the queue of a recursive query, which may fill for ever.
        if (p2 < addr && program[p2]?.opcode === 'Rewind') spans.push({ from: p2, to: addr, loop: { rows: Infinity } })
    }
  }
  for (const span of spans) {
    const guard = once.filter(({ from, to }) => from < span.from && span.to < to).at(-1)
    const around = spans.filter(
      (each) =>
        each !== span &&
        each.from <= span.from &&
        span.to <= each.to &&
        // What runs once does so however often the loop around it turns.
        (guard === undefined || each.from > guard.from),
    )
    nests.push([span.loop, ...around.map((each) => each.loop)])
  }
  return { nests, rootPages: [...new Set(rootPages.values())] }
}

/** A cursor without a root page is of a list in memory: the values of an IN, or a sorter whose filling was counted. */
function loopOver(rootPage: number | undefined, isPage: boolean): Loop {
  if (rootPage === undefined) return { rows: listRows }
  return isPage ? { rows: pageRows } : { rootPage, share: 1 }
}

/** Whether the subquery behind a Yield goes over anything, or is one row of constants. */
function hasLoop(program: readonly Instruction[], register: number): boolean {
  return program.some(
    ({ opcode, addr, p1, p2 }) =>
      opcode === 'InitCoroutine' &&
      p1 === register &&
      program.slice(addr + 1, p2).some((each) => ['Next', 'Prev', 'VNext'].includes(each.opcode)),
  )
}

/**
 * Whether each turn of a loop gives a row of the answer, so that LIMIT ends it: no condition leads past the row.
 * OFFSET does, and is not judged here.
 */
function endsWithItsPage(program: readonly Instruction[], from: number, to: number): boolean {
  let gives = false
  let isLimited = false
  for (let at = from; at < to; at++) {
    const { opcode, p2 } = program[at]!
    if (opcode === 'ResultRow') gives = true
    else if (opcode === 'DecrJumpZero') isLimited = true
    else if (opcode === 'IfPos')
      continue // OFFSET
    else if (opcode === 'Next' || opcode === 'Prev' || opcode === 'VNext' || opcode === 'Gosub') return false
    else if (p2 === to && jumps.has(opcode)) return false
  }
  return gives && isLimited
}

/** Opcodes whose second operand is where they may jump. */
const jumps: ReadonlySet<string> = new Set(
  'Goto If IfNot IsNull NotNull Eq Ne Lt Le Gt Ge ElseEq Found NotFound NoConflict NotExists SeekRowid SeekGE SeekGT SeekLE SeekLT IdxGE IdxGT IdxLE IdxLT Rewind Last VFilter Filter IsType IfNullRow IfEmpty'.split(
    ' ',
  ),
)

/** Rows that the statement looks at when nothing ends it early. @param rowsOf by root page. */
export function rowsVisitedMax(shape: ScanShape, rowsOf: (rootPage: number) => number): number {
  const turns = (loop: Loop) => {
    if (loop === 'largest') return Math.max(...shape.rootPages.map(rowsOf))
    return 'rows' in loop ? loop.rows : rowsOf(loop.rootPage) * loop.share
  }
  let sum = 0
  for (const nest of shape.nests) sum += nest.reduce((product, loop) => product * Math.max(1, turns(loop)), 1)
  return sum
}
