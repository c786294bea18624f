// The filter grammar: comparisons joined by && and ||, groups in parentheses, `//` comments. PocketBase's grammar
// (ganigeorgiev/fexpr), its oddities included: a group drops whatever stands unfinished before it, and a NUL ends the
// text. So are its words for what is wrong: superusers read them when a rule is refused.

import { LruMap } from '../../../lib/lru.ts'
import { err, ok, type Result } from '../../../lib/result.ts'

/** Characters of one filter; rules may be longer than what a client sends. */
export const filterLengthMax = 20_000
/** Groups within groups. */
const depthMax = 500
/** Functions within arguments of functions. */
const functionDepthMax = 3

export type Operand =
  | { readonly kind: 'identifier'; readonly text: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'number'; readonly value: number; readonly text: string }
  | { readonly kind: 'function'; readonly name: string; readonly args: readonly Operand[] }

export type Comparison = '=' | '!=' | '~' | '!~' | '<' | '<=' | '>' | '>='

export interface Expression {
  readonly left: Operand
  readonly operator: Comparison
  /** `?=` and friends: one match among several values is enough. */
  readonly isAny: boolean
  readonly right: Operand
}

export interface Item {
  /** How it is joined to what stands before it; of no meaning for the first. */
  readonly join: 'and' | 'or'
  readonly node: Expression | Group
}

export interface Group {
  readonly items: readonly Item[]
}

export function isGroup(node: Expression | Group): node is Group {
  return 'items' in node
}

class SyntaxFailure extends Error {}

/** Rules and filters repeat from request to request; entries are a few KB at most. */
const parsed = new LruMap<string, Result<Group, string>>(500)

/** Parses a filter; the error says what is wrong. Never throws, and takes time linear in the text. */
export function parseFilter(text: string): Result<Group, string> {
  if (text.length > filterLengthMax) return err(`the filter is longer than ${filterLengthMax} characters`)
  const known = parsed.get(text)
  if (known !== undefined) return known
  try {
    const result = ok(readGroup(new Reader(text), 0))
    parsed.set(text, result)
    return result
  } catch (error) {
    if (error instanceof SyntaxFailure) return err(error.message)
    throw error
  }
}

function fail(what: string): never {
  throw new SyntaxFailure(what)
}

const isLetter = (char: string) => (char >= 'a' && char <= 'z') || (char >= 'A' && char <= 'Z')
const isDigit = (char: string) => char >= '0' && char <= '9'
const isBlank = (char: string) => char === ' ' || char === '\t' || char === '\n'
const isSign = (char: string) => '=?!<>~'.includes(char)
const isJoin = (char: string) => char === '&' || char === '|'
const isSpecialStart = (char: string) => char === '@' || char === '_' || char === '#'
const isCombining = (char: string) => char === '.' || char === ':'
const isWordPart = (char: string) => isLetter(char) || isDigit(char) || isCombining(char) || char === '_'

const operatorPattern = /^(\?)?(=|!=|~|!~|<|<=|>|>=)$/

class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  /** The next character; empty at the end. */
  peek(): string {
    const char = this.#text[this.#at]
    return char === undefined || char === '\0' ? '' : char
  }

  skip(): void {
    this.#at++
  }

  skipBlank(): void {
    for (;;) {
      const char = this.peek()
      if (char !== '' && isBlank(char)) this.#at++
      else if (char === '/') this.#comment()
      else return
    }
  }

  while(belongs: (char: string) => boolean): string {
    const from = this.#at
    for (let char = this.peek(); char !== '' && belongs(char); char = this.peek()) this.#at++
    return this.#text.slice(from, this.#at)
  }

  #comment(): void {
    if (this.#text[this.#at + 1] !== '/') fail('invalid comment')
    for (this.#at += 2; this.peek() !== '' && this.peek() !== '\n'; ) this.#at++
    if (this.#at < this.#text.length) this.#at++
  }

  /** An operand, or null when none starts here. */
  operand(functionDepth: number): Operand | null {
    const char = this.peek()
    if (char === '') return null
    if (isLetter(char) || isSpecialStart(char)) return this.#identifier(functionDepth)
    if (char === '-' || isDigit(char)) return this.#number()
    if (char === "'" || char === '"') return { kind: 'text', text: this.#quoted() }
    return null
  }

  #identifier(functionDepth: number): Operand {
    const from = this.#at++
    this.while(isWordPart)
    const text = this.#text.slice(from, this.#at)
    const isFunction = this.peek() === '('
    if (isFunction && functionDepth <= 0) fail(`max nested function arguments reached (max: ${functionDepthMax})`)
    if (isCombining(text.at(-1)!) || (text.length === 1 && isSpecialStart(text)))
      fail(`invalid ${isFunction ? 'function name' : 'identifier'} ${quote(text)}`)
    if (!isFunction) return { kind: 'identifier', text }
    return { kind: 'function', name: text, args: this.#args(text, functionDepth) }
  }

  #number(): Operand {
    const from = this.#at
    let hadDot = false
    for (;;) {
      const char = this.peek()
      if (char === '' || !(isDigit(char) || (char === '-' && this.#at === from) || (char === '.' && !hadDot))) break
      if (char === '.') hadDot = true
      this.#at++
    }
    const text = this.#text.slice(from, this.#at)
    if (text === '-' || text.endsWith('.')) fail(`invalid number ${quote(text)}`)
    return { kind: 'number', value: Number(text), text }
  }

  #quoted(): string {
    const mark = this.#text[this.#at++]!
    let text = ''
    for (;;) {
      const char = this.peek()
      if (char === '') fail(`invalid quoted text ${quote(mark + text)}`)
      this.#at++
      if (char === mark) return text
      if (char !== '\\') {
        text += char
        continue
      }
      const escaped = this.peek()
      if (escaped === '') fail(`invalid quoted text ${quote(mark + text)}`)
      this.#at++
      if (escaped === 'n') text += '\n'
      else if (escaped === 't') text += '\t'
      else if (escaped === 'r') text += '\r'
      else text += '\\\'"'.includes(escaped) ? escaped : `\\${escaped}`
    }
  }

  #args(name: string, functionDepth: number): Operand[] {
    this.#at++
    const args: Operand[] = []
    for (let expectsComma = false; ; ) {
      this.skipBlank()
      const char = this.peek()
      if (char === '') fail(`invalid or incomplete function ${quote(name)} (expected ')')`)
      if (char === ')' || char === ',') {
        this.#at++
        if (char === ')') return args
        if (!expectsComma) fail(`unexpected comma in function ${quote(name)}`)
        expectsComma = false
        continue
      }
      if (expectsComma) fail(`expected comma after the last argument in function ${quote(name)}`)
      args.push(
        this.operand(functionDepth - 1) ?? fail(`unsupported argument character '${char}' in function ${quote(name)}`),
      )
      expectsComma = true
    }
  }

  /** What stands here, at a character that is no blank, no parenthesis that opens, and not the end. */
  token(): Token {
    const char = this.peek()
    const operand = this.operand(functionDepthMax)
    if (operand !== null) return { kind: 'operand', operand }
    if (isSign(char)) {
      const text = this.while(isSign)
      const match = operatorPattern.exec(text) ?? fail(`invalid sign operator ${quote(text)}`)
      return { kind: 'sign', text, comparison: match[2] as Comparison, isAny: match[1] !== undefined }
    }
    if (isJoin(char)) {
      const text = this.while(isJoin)
      if (text !== '&&' && text !== '||') fail(`invalid join operator ${quote(text)}`)
      return { kind: 'join', text, join: text === '&&' ? 'and' : 'or' }
    }
    return fail(`unexpected character '${char}'`)
  }
}

type Token =
  | { readonly kind: 'operand'; readonly operand: Operand }
  | { readonly kind: 'sign'; readonly text: string; readonly comparison: Comparison; readonly isAny: boolean }
  | { readonly kind: 'join'; readonly text: string; readonly join: Item['join'] }

const quote = (text: string) => JSON.stringify(text)

/** An operand as it was written, but for quotes and escapes: what errors call it. */
export function operandText(operand: Operand): string {
  return operand.kind === 'function' ? operand.name : operand.text
}

function describe(token: Token): string {
  return token.kind === 'operand'
    ? `${quote(operandText(token.operand))} (${token.operand.kind})`
    : `${quote(token.text)} (${token.kind})`
}

/** Reads to the end of the text, or of the parenthesis that was opened before. */
function readGroup(reader: Reader, depth: number): Group {
  if (depth > depthMax) fail(`groups deeper than ${depthMax} levels`)
  const items: Item[] = []
  let step: 'left' | 'sign' | 'right' | 'join' = 'left'
  let join: Item['join'] = 'and'
  let left: Operand | null = null
  let sign: Extract<Token, { kind: 'sign' }> | null = null
  for (;;) {
    reader.skipBlank()
    const char = reader.peek()
    if (char === '') {
      if (depth > 0) fail(`invalid formatted group - missing ${depth} closing bracket(s)`)
      break
    }
    if (char === ')' && depth > 0) {
      reader.skip()
      break
    }
    if (char === '(') {
      reader.skip()
      items.push({ join, node: readGroup(reader, depth + 1) })
      step = 'join'
      continue
    }
    const token = reader.token()
    switch (step) {
      case 'left':
        if (token.kind !== 'operand')
          return fail(`expected left operand (identifier, function, text or number), got ${describe(token)}`)
        left = token.operand
        step = 'sign'
        break
      case 'sign':
        if (token.kind !== 'sign') return fail(`expected a sign operator, got ${describe(token)}`)
        sign = token
        step = 'right'
        break
      case 'right': {
        if (token.kind !== 'operand')
          return fail(`expected right operand (identifier, function text or number), got ${describe(token)}`)
        const { comparison: operator, isAny } = sign!
        items.push({ join, node: { left: left!, operator, isAny, right: token.operand } })
        step = 'join'
        break
      }
      case 'join':
        if (token.kind !== 'join') return fail(`expected && or ||, got ${describe(token)}`)
        join = token.join
        step = 'left'
    }
  }
  if (step === 'join') return { items }
  return fail(
    items.length === 0 && left === null ? 'empty filter expression' : 'invalid or incomplete filter expression',
  )
}
