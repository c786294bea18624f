// Whether a text is a cron expression, in PocketBase's dialect: five segments of `*`, numbers, ranges, lists and steps,
// or a macro. When it fires is not this file's matter.

const macros = ['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly']
/** Minute, hour, day of the month, month, day of the week. */
const ranges: readonly (readonly [min: number, max: number])[] = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 6],
]
/** Longer than any schedule a person writes. */
const lengthMax = 1000

/** @returns what is wrong, or null. */
export function cronProblem(expression: string): string | null {
  if (macros.includes(expression)) return null
  const segments = expression.length > lengthMax ? [] : expression.split(' ')
  if (segments.length !== ranges.length)
    return 'invalid cron expression - must be a valid macro or to have exactly 5 space separated segments'
  for (const [i, segment] of segments.entries())
    for (const part of segment.split(',')) {
      const problem = partProblem(part, ...ranges[i]!)
      if (problem !== null) return problem
    }
  return null
}

function partProblem(part: string, min: number, max: number): string | null {
  const [slots, stepText, ...moreSteps] = part.split('/') as [string, ...string[]]
  if (moreSteps.length > 0) return 'invalid segment step format - must be in the format */n or 1-30/n'
  const step = stepText === undefined ? 1 : integer(stepText)
  if (step === null) return noNumber(stepText!)
  if (step < 1 || step > max) return `invalid segment step boundary - the step must be between 1 and the ${max}`
  if (slots === '*') return null
  const bounds = slots.split('-')
  if (bounds.length > 2) return 'invalid segment range format - the range must have 1 or 2 parts'
  if (bounds.length === 1 && step !== 1)
    return 'invalid segment step - step > 1 could be used only with the wildcard or range format'
  const [fromText, toText] = bounds as [string, string?]
  const from = integer(fromText)
  if (from === null) return noNumber(fromText)
  if (from < min || from > max)
    return toText === undefined
      ? 'invalid segment value - must be between the min and max of the segment'
      : `invalid segment range minimum - must be between ${min} and ${max}`
  const to = toText === undefined ? from : integer(toText)
  if (to === null) return noNumber(toText!)
  return to < from || to > max ? `invalid segment range maximum - must be between ${from} and ${max}` : null
}

function integer(text: string): number | null {
  return /^[+-]?\d{1,18}$/.test(text) ? Number(text) : null
}

/** Go's words; what is longer than any number of 64 bits is no number to us. */
function noNumber(text: string): string {
  return `strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`
}
