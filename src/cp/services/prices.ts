// What a store charges: a table of settings, and what a tenant costs by it. List prices change; whoever quotes a bill has
// looked them up. The default is AWS S3 Standard in us-east-1, USD.

import type { UsageReport } from '../../ipc/messages/jobs.ts'
import type { MeterReading } from '../../lib/object-store/metered.ts'

export interface PriceTable {
  readonly currency: string
  /** By storage class, per GB (10^9 bytes) and month; `*` for classes that are not named. */
  readonly storagePerGbMonth: Readonly<Record<string, number>>
  /** Per thousand requests; `put` stands for copies and listings too, as S3 counts them. */
  readonly perThousandRequests: { readonly put: number; readonly get: number; readonly delete: number }
  /** Per GB that leaves the store; 0 inside its own region. */
  readonly perGbReceived: number
}

export const defaultPrices: PriceTable = {
  currency: 'USD',
  storagePerGbMonth: { STANDARD: 0.023, STANDARD_IA: 0.0125, GLACIER_IR: 0.004, '*': 0.023 },
  perThousandRequests: { put: 0.005, get: 0.0004, delete: 0 },
  perGbReceived: 0,
}

/** The table that a settings file holds, or what is wrong with it. Fields that are missing are the default's. */
export function parsePrices(text: string): PriceTable | { readonly problem: string } {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch {
    return { problem: 'it is not JSON' }
  }
  if (!isObject(raw)) return { problem: 'it is no object' }
  const known = ['currency', 'storagePerGbMonth', 'perThousandRequests', 'perGbReceived']
  const unknown = Object.keys(raw).find((key) => !known.includes(key))
  if (unknown !== undefined) return { problem: `there is no field ${unknown}; fields: ${known.join(', ')}` }
  const { currency = defaultPrices.currency, perGbReceived = defaultPrices.perGbReceived } = raw
  const storage = raw['storagePerGbMonth'] ?? defaultPrices.storagePerGbMonth
  const requests = {
    ...defaultPrices.perThousandRequests,
    ...(isObject(raw['perThousandRequests']) && raw['perThousandRequests']),
  }
  if (typeof currency !== 'string' || currency.length > 10) return { problem: 'currency is no short text' }
  if (!isPrice(perGbReceived)) return { problem: 'perGbReceived is no price' }
  if (!isObject(storage) || !Object.values(storage).every(isPrice) || !isPrice(storage['*']))
    return { problem: 'storagePerGbMonth needs a price for each class, and one for * (all others)' }
  if (Object.keys(requests).length !== 3 || !Object.values(requests).every(isPrice))
    return { problem: 'perThousandRequests takes put, get and delete' }
  return {
    currency,
    perGbReceived,
    storagePerGbMonth: storage as Record<string, number>,
    perThousandRequests: requests as PriceTable['perThousandRequests'],
  }
}

export interface TenantCost {
  /** For what is stored now, if it stays for a month. */
  readonly storagePerMonth: number
  /** For what was asked of the store since counting began. */
  readonly requests: number
}

const bytesPerGb = 1e9

export function costOf(prices: PriceTable, usage: UsageReport, reading: MeterReading): TenantCost {
  const storagePerMonth = usage.stored.reduce((sum, { storageClass, bytes }) => {
    const price = prices.storagePerGbMonth[storageClass] ?? prices.storagePerGbMonth['*']!
    return sum + (bytes / bytesPerGb) * price
  }, 0)
  const { put, copy, list, get, head, delete: deletes } = reading.calls
  const { perThousandRequests: per, perGbReceived } = prices
  const requests =
    ((put + copy + list) * per.put + (get + head) * per.get + deletes * per.delete) / 1_000 +
    (reading.bytesReceived / bytesPerGb) * perGbReceived
  return { storagePerMonth, requests }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isPrice(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}
