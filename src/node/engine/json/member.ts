// Members of JSON objects as Go's decoder finds them: by their exact name, else whatever the case.

/** @returns undefined where there is none. */
export function memberOf(json: object, name: string): unknown {
  if (Object.hasOwn(json, name)) return (json as Record<string, unknown>)[name]
  const lower = name.toLowerCase()
  const other = Object.keys(json).find((each) => each.toLowerCase() === lower)
  return other === undefined ? undefined : (json as Record<string, unknown>)[other]
}

/** The object with its members under their proper names; unknown ones stay as they are. */
export function withProperNames(
  json: Readonly<Record<string, unknown>>,
  names: readonly string[],
): Readonly<Record<string, unknown>> {
  const proper: Record<string, unknown> = { ...json }
  for (const name of names) {
    const value = Object.hasOwn(json, name) ? undefined : memberOf(json, name)
    if (value !== undefined) proper[name] = value
  }
  return proper
}
