// Plans are data; these are the defaults. A tenant's limits are copied from its plan when it is made or changes plan.

import type { TenantLimits } from '../../ipc/messages/tenant.ts'

const megabyte = 1_000_000
const gigabyte = 1_000_000_000
const limits = (
  storageBytesMax: number,
  apiRequestsPerDayMax: number,
  realtimeConnectionsMax: number,
  queryMsMax: number,
): TenantLimits => ({ storageBytesMax, apiRequestsPerDayMax, realtimeConnectionsMax, queryMsMax })

/** `unlimited` is what a tenant gets that is made without a plan. */
export const plans: Readonly<Record<string, TenantLimits>> = {
  unlimited: { storageBytesMax: null, apiRequestsPerDayMax: null, realtimeConnectionsMax: null, queryMsMax: 30_000 },
  micro: limits(10 * megabyte, 1_000, 5, 1_000),
  small: limits(100 * megabyte, 10_000, 20, 5_000),
  medium: limits(gigabyte, 100_000, 50, 10_000),
  large: limits(5 * gigabyte, 1_000_000, 100, 30_000),
  enterprise: limits(50 * gigabyte, 10_000_000, 500, 60_000),
}

export const planDefault = 'unlimited'
