// Goal: an answer is the same however its bytes are cut, and nothing ambiguous passes.
// Method: answers written by hand and by a generator, pushed in random pieces; random bytes must never throw otherwise.

import { describe, expect, setDefaultTimeout, test } from 'bun:test'
import fc from 'fast-check'
import { AnswerError, type AnswerHead, AnswerParser } from './answer-parser.ts'

setDefaultTimeout(60_000) // a busy machine is no failure

interface Seen {
  head: AnswerHead | null
  body: string
  ended: number
  parser: AnswerParser
}

function read(pieces: readonly Buffer[], { isHead = false, closes = false } = {}): Seen {
  const seen: Omit<Seen, 'parser'> = { head: null, body: '', ended: 0 }
  const parser = new AnswerParser(
    {
      onHead(head) {
        seen.head = head
      },
      onData(bytes) {
        seen.body += Buffer.from(bytes).toString('latin1')
      },
      onEnd() {
        seen.ended++
      },
    },
    isHead,
  )
  for (const piece of pieces) parser.push(piece)
  if (closes) parser.close()
  return { ...seen, parser }
}

/** Cuts at the given places. */
function cut(text: string, places: readonly number[]): Buffer[] {
  const bytes = Buffer.from(text, 'latin1')
  const at = [0, ...places.map((each) => each % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return at.slice(1).map((end, i) => bytes.subarray(at[i]!, end))
}

const chunked = (chunks: readonly string[]) =>
  `${chunks.map((each) => `${each.length.toString(16)}\r\n${each}\r\n`).join('')}0\r\n\r\n`

describe('an answer', () => {
  const body = fc.array(fc.string({ minLength: 1, maxLength: 30, unit: 'binary-ascii' }), { maxLength: 5 })
  const places = fc.array(fc.nat({ max: 1_000 }), { maxLength: 8 })

  test('is the same in any pieces, counted or in chunks', () => {
    fc.assert(
      fc.property(body, places, fc.boolean(), (parts, at, isChunked) => {
        const whole = parts.join('')
        const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${whole.length}`
        const text = `HTTP/1.1 200 OK\r\nX-A:  b \r\n${framing}\r\n\r\n${isChunked ? chunked(parts) : whole}`
        const seen = read(cut(text, at))
        expect(seen.head).toMatchObject({ status: 200, statusText: 'OK', bodyBytes: isChunked ? null : whole.length })
        expect(seen.head?.headers[0]).toEqual(['x-a', 'b'])
        expect({ body: seen.body, ended: seen.ended }).toEqual({ body: whole, ended: 1 })
        expect(seen.parser.keepsOpen).toBe(true)
      }),
    )
  })

  test('without a length ends with the connection, which is then used up', () => {
    const seen = read(cut('HTTP/1.1 200 \r\n\r\nabc', [3]), { closes: true })
    expect(seen).toMatchObject({ body: 'abc', ended: 1, head: { status: 200, statusText: '' } })
    expect(seen.parser.keepsOpen).toBe(false)
  })

  test('to HEAD, 204 and 304 has no body', () => {
    const head = read(cut('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', []), { isHead: true })
    expect(head).toMatchObject({ ended: 1, body: '' })
    expect(head.head?.headers).toEqual([['content-length', '5']])
    for (const status of [204, 304]) expect(read(cut(`HTTP/1.1 ${status} X\r\n\r\n`, []))).toMatchObject({ ended: 1 })
  })

  test('may follow one that is on its way, and may say that it is the last', () => {
    const text =
      'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx'
    const seen = read(cut(text, [10, 40, 60]))
    expect(seen).toMatchObject({ body: 'x', ended: 1, head: { status: 200 } })
    expect(seen.parser.keepsOpen).toBe(false)
  })

  test('that is cut off is not complete', () => {
    for (const text of ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc', 'HTTP/1.1 200 OK\r\n', '']) {
      const seen = read(cut(text, []))
      expect([seen.parser.close(), seen.ended]).toEqual([false, 0])
    }
    const chunks = read(cut('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n', []))
    expect([chunks.parser.close(), chunks.ended, chunks.body]).toEqual([false, 0, 'abc'])
  })

  test('with bytes behind it uses its connection up', () => {
    const seen = read(cut('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK', []))
    expect([seen.body, seen.ended, seen.parser.keepsOpen]).toEqual(['x', 1, false])
  })
})

test('what is ambiguous or too long is refused', () => {
  const ok = 'HTTP/1.1 200 OK\r\n'
  for (const text of [
    `${ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`,
    `${ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`,
    `${ok}Content-Length: -1\r\n\r\n`,
    `${ok}Content-Length: 0x1\r\n\r\n`,
    `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n`,
    `${ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`,
    `${ok}no colon\r\n\r\n`,
    `${ok} folded: x\r\n\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n${'1'.repeat(5_000)}`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n0\r\n${'a: b\r\n'.repeat(101)}`,
    `${ok}X: ${'a'.repeat(70_000)}`,
    'HTTP/1.0 200 OK\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    'nonsense\r\n\r\n',
  ])
    expect(() => read(cut(text, []))).toThrow(AnswerError)
})

test('any bytes are an answer or an AnswerError', () => {
  const line = fc.constantFrom(
    'HTTP/1.1 200 OK\r\n',
    'Content-Length: 3\r\n',
    'Transfer-Encoding: chunked\r\n',
    '\r\n',
    '3\r\nabc\r\n',
    '0\r\n',
    'ffffffffffff\r\n',
  )
  fc.assert(
    fc.property(fc.array(fc.oneof(line, fc.string({ unit: 'binary', maxLength: 20 })), { maxLength: 12 }), (parts) => {
      try {
        read(cut(parts.join(''), [7, 31]), { closes: true })
      } catch (error) {
        expect(error).toBeInstanceOf(AnswerError)
      }
    }),
  )
})
