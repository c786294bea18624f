// Sends a planned request to one server.

import type { RequestPlan } from './plans.ts'

/** Index of the superuser among the callers. */
const root = 1

export async function send(url: string, plan: RequestPlan, tokens: readonly string[]): Promise<Response> {
  const headers: Record<string, string> = { 'x-test': '1', ...plan.headers }
  const token = tokens[plan.caller] ?? ''
  if (token !== '') headers['authorization'] = token
  const named = (text: string) => withStoredNames(url, text, tokens[root]!)
  let body: string | FormData | null = null
  if (plan.form !== undefined) {
    body = new FormData()
    for (const { name, value } of plan.form)
      if (typeof value === 'string') body.append(name, await named(value))
      else body.append(name, new Blob([value.bytes as Uint8Array<ArrayBuffer>], { type: value.type }), value.filename)
  } else if (plan.body !== null) {
    headers['content-type'] = 'application/json'
    body = JSON.stringify(plan.body)
  }
  const path = await named(plan.path)
  return fetch(url + path, { method: plan.method, headers, redirect: 'manual', ...(body !== null && { body }) })
}

/** Puts the names of stored files in place: each server chose its own. */
async function withStoredNames(url: string, text: string, token: string): Promise<string> {
  let named = text
  for (const [whole, collection, id, field, index] of text.matchAll(/\{\{([^/}]+)\/([^/}]+)\/([^/}]+)\/(\d+)\}\}/g)) {
    const answer = await fetch(`${url}/api/collections/${collection}/records/${id}`, {
      headers: { authorization: token },
    })
    const record = answer.ok ? ((await answer.json()) as Record<string, unknown>) : {}
    const names = [record[field!] ?? []].flat().filter((name) => name !== '')
    named = named.replace(whole, String(names[Number(index)] ?? 'none.txt'))
  }
  return named
}
