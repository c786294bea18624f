// Several changes as one request.

import type { Generator } from '../generator.ts'
import type { FormPart, RequestPlan } from '../plans.ts'
import { someUpload } from './files.ts'
import { createRecord, deleteRecord, updateRecord } from './records.ts'

export function sendBatch(generator: Generator, index: number): RequestPlan {
  const caller = generator.caller()
  const requests: Record<string, unknown>[] = []
  const form: FormPart[] = []
  const count = generator.chance(4) ? 0 : 1 + generator.rng.below(4)
  for (let part = 0; part < count; part++) {
    const { method, path, body } = partOf(generator, index, part)
    requests.push({
      method,
      url: path,
      ...(body !== null && { body }),
      ...(generator.chance(10) && { headers: { 'x-test': '2' } }),
    })
    const field = generator.collections
      .find((plan) => path.startsWith(`/api/collections/${plan.name}/`))
      ?.fields.find((each) => each.type === 'file')
    if (field !== undefined && method !== 'DELETE' && generator.chance(60))
      form.push({ name: `requests.${part}.${field.name}`, value: someUpload(generator) })
  }
  const whole = { requests }
  const base = { method: 'POST', path: '/api/batch', caller } as const
  if (form.length === 0 && generator.chance(60)) return { ...base, body: whole }
  return { ...base, body: null, form: [{ name: '@jsonPayload', value: JSON.stringify(whole) }, ...form] }
}

function partOf(generator: Generator, index: number, part: number): Pick<RequestPlan, 'method' | 'path' | 'body'> {
  const kind = generator.rng.below(100)
  if (kind < 3)
    return {
      method: generator.pick(['GET', 'POST']),
      path: generator.pick(['/api/health', '/api/collections/people/auth-refresh']),
      body: null,
    }
  if (kind < 35) return createRecord(generator, index * 10 + part + 100_000)
  if (kind < 65) return updateRecord(generator)
  if (kind < 80) return deleteRecord(generator)
  const { path, body } = createRecord(generator, index * 10 + part + 100_000)
  const plan = generator.pick(generator.collections)
  if (generator.chance(50)) return { method: 'PUT', path, body }
  return { method: 'PUT', path: `/api/collections/${plan.name}/records`, body: { ...body, id: generator.someId(plan) } }
}
