// Dates as PocketBase stores and reads them: `2006-01-02 15:04:05.000Z`, empty for none. Go: tools/types/datetime.go and
// the layouts of spf13/cast.

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

/** The stored form of an instant, milliseconds truncated; empty outside the years 0 to 9999. */
export function formatDateTime(ms: number): string {
  if (!Number.isFinite(ms) || ms < -62_167_219_200_000 || ms > 253_402_300_799_999) return ''
  return new Date(ms).toISOString().replace('T', ' ')
}

// The parts of the layouts, as Go reads them: any number of blanks for one, hours of one digit, any fraction of a second
// after seconds, names in any case, and zones that are names only (they move nothing).
const day = String.raw`(?<year>\d{4})-(?<month>\d{2})-(?<day>\d{2})`
const time = String.raw`(?<hour>\d{1,2}):(?<minute>\d{2}):(?<second>\d{2})(?:[.,](?<fraction>\d+))?`
const shortTime = String.raw`(?<hour>\d{1,2}):(?<minute>\d{2})`
const offset = String.raw`(?<offset>[+-]\d{4})`
const zone = String.raw`(?:GMT(?<gmt>[+-]\d{1,2})|[A-Z]{3}|[A-Z]{3,4}T|WITA|ChST|MeST|[+-]\d{2})`
const monthName = `(?<monthName>(?i:${months.join('|')}))`
const weekday = '(?i:mon|tue|wed|thu|fri|sat|sun)'
const longWeekday = '(?i:(?:mon|tues|wednes|thurs|fri|satur|sun)day)'

const layouts = [
  day,
  String.raw`${day}T${time}(?<offset>Z|[+-]\d{2}:?\d{2})?`,
  String.raw`${day} ${time}(?<offset>Z| ?[+-]\d{2}:?\d{2})?`,
  `${day} ${time} ${offset} ${zone}`,
  String.raw`${weekday}, (?<day>\d{2}) ${monthName} (?<year>\d{4}) ${time} (?:${offset}|${zone})`,
  String.raw`(?<day>\d{2}) ${monthName} (?<shortYear>\d{2}) ${shortTime} (?:${offset}|${zone})`,
  String.raw`${longWeekday}, (?<day>\d{2})-${monthName}-(?<shortYear>\d{2}) ${time} ${zone}`,
  String.raw`${weekday} ${monthName} (?<day>\d{1,2}) ${time}(?: ${zone})? (?<year>\d{4})`,
  String.raw`${weekday} ${monthName} (?<day>\d{2}) ${time} ${offset} (?<year>\d{4})`,
  String.raw`(?<day>\d{2}) ${monthName} (?<year>\d{4})`,
  `${shortTime}(?<half>[AP]M)`,
  String.raw`${monthName} (?<day>\d{1,2}) ${time}`,
].map((layout) => new RegExp(`^${layout.replaceAll(/ (\?)?/g, (_, optional) => (optional ? ' *' : ' +'))}$`))

/** ms since the Unix epoch, or null when the text is no date in a known layout. */
export function parseDateTime(text: string): number | null {
  for (const layout of layouts) {
    const parts = layout.exec(text)?.groups
    if (parts !== undefined) return instant(parts)
  }
  return null
}

function instant(parts: Readonly<Record<string, string | undefined>>): number | null {
  const { fraction = '', monthName, half, shortYear } = parts
  const [day = 1, minute = 0, second = 0] = [parts['day'], parts['minute'], parts['second']].map(asNumber)
  const month = monthName === undefined ? Number(parts['month'] ?? 1) : months.indexOf(monthName.toLowerCase()) + 1
  const year =
    shortYear === undefined ? Number(parts['year'] ?? 0) : Number(shortYear) + (Number(shortYear) < 69 ? 2000 : 1900)
  const written = Number(parts['hour'] ?? 0)
  const hour = half === undefined ? written : (written % 12) + (half === 'PM' ? 12 : 0)
  if (written > (half === undefined ? 23 : 12) || minute > 59 || second > 59) return null
  const offsetMs = offsetOf(parts)
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  if (offsetMs === null || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return null // 30 February
  const millis = Number(fraction.padEnd(3, '0').slice(0, 3))
  return date.getTime() + ((hour * 60 + minute) * 60 + second) * 1_000 + millis - offsetMs
}

function offsetOf({ offset, gmt }: Readonly<Record<string, string | undefined>>): number | null {
  // `GMT+3` moves the other way than `+0300`, there too.
  if (gmt !== undefined) return Math.abs(Number(gmt)) > 23 ? null : Number(gmt) * -3_600_000
  const match = /([+-])(\d{2}):?(\d{2})$/.exec(offset ?? '')
  if (match === null) return 0
  const [hours, minutes] = [Number(match[2]), Number(match[3])]
  // As Go has it: people do write 24 hours and 60 minutes.
  if (hours > 24 || minutes > 60) return null
  return (hours * 60 + minutes) * 60_000 * (match[1] === '-' ? -1 : 1)
}

function asNumber(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text)
}

/** Any input as a stored date; what is no date becomes the empty string, as PocketBase has it. */
export function toDateTime(raw: unknown): string {
  if (typeof raw !== 'string' || raw === '') return ''
  if (isStored(raw)) return raw
  const ms = parseDateTime(raw)
  return ms === null ? '' : formatDateTime(ms)
}

const storedDay = String.raw`(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31`
const storedPattern = new RegExp(String.raw`^\d{4}-(?:${storedDay}) (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z$`)

/** Whether a text is what `formatDateTime` writes, of any day but 29 February: every date read passes here. */
function isStored(text: string): boolean {
  return text.length === 24 && storedPattern.test(text)
}
