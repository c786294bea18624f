// Dates as PocketBase stores and reads them: `2006-01-02 15:04:05.000Z`, empty for none. Go: tools/types/datetime.go and
// the layouts of spf13/cast.

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

/** The stored form of an instant, milliseconds truncated; empty outside the years 0 to 9999. */
export function formatDateTime(ms: number): string {
  if (!Number.isFinite(ms) || ms < -62_167_219_200_000 || ms > 253_402_300_799_999) return ''
  return new Date(ms).toISOString().replace('T', ' ')
}

/** `2006-01-02`, then optionally a time after `T` or a blank, fraction, and an offset. */
const isoPattern =
  /^(\d{4})-(\d{2})-(\d{2})(?:([ T])(\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?(?: ?(Z|[+-]\d{2}:?\d{2})(?: [A-Z]{3,4})?)?)?$/
/** RFC 1123, RFC 850 with four digits and `02 Jan 2006`, with or without day name, time and zone. */
const namedPattern =
  /^(?:[A-Za-z]{3,9},? )?(\d{1,2})[ -]([A-Za-z]{3})[ -](\d{2}|\d{4})(?: (\d{2}):(\d{2})(?::(\d{2}))?(?: (GMT|UTC|[+-]\d{4}))?)?$/

function instant(parts: readonly number[], fraction: string, offset: string | undefined): number | null {
  const [year, month, day, hour, minute, second] = parts as [number, number, number, number, number, number]
  if (hour > 23 || minute > 59 || second > 59) return null
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return null // 30 February
  const millis = Number(fraction.padEnd(3, '0').slice(0, 3))
  const match = offset ? /^([+-])(\d{2}):?(\d{2})$/.exec(offset) : null
  const offsetMs = match ? (Number(match[2]) * 60 + Number(match[3])) * 60_000 * (match[1] === '-' ? -1 : 1) : 0
  return date.getTime() + ((hour * 60 + minute) * 60 + second) * 1_000 + millis - offsetMs
}

/** ms since the Unix epoch, or null when the text is no date in a known layout. */
export function parseDateTime(text: string): number | null {
  const iso = isoPattern.exec(text)
  if (iso !== null) {
    const parts = [iso[1], iso[2], iso[3], iso[5] ?? 0, iso[6] ?? 0, iso[7] ?? 0].map(Number)
    return instant(parts, iso[8] ?? '', iso[9])
  }
  const named = namedPattern.exec(text)
  if (named === null) return null
  const month = months.indexOf(named[2]!.toLowerCase()) + 1
  if (month === 0) return null
  const shortYear = Number(named[3])
  const year = named[3]!.length === 4 ? shortYear : shortYear + (shortYear >= 69 ? 1900 : 2000)
  const parts = [year, month, named[1], named[4] ?? 0, named[5] ?? 0, named[6] ?? 0].map(Number)
  return instant(parts, '', named[7])
}

/** Any input as a stored date; what is no date becomes the empty string, as PocketBase has it. */
export function toDateTime(raw: unknown): string {
  if (typeof raw !== 'string' || raw === '') return ''
  if (raw.length === 24 && /^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{3}Z$/.test(raw)) {
    const ms = parseDateTime(raw)
    return ms === null ? '' : raw
  }
  const ms = parseDateTime(raw)
  return ms === null ? '' : formatDateTime(ms)
}
