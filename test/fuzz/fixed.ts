/** The cases that are tried each time. What stores with a mistake are caught by is among them. */
export const fixed = [
  { target: "ledger", seed: 1, count: 500 },
  { target: "derived", seed: 1, count: 160 },
  { target: "projections", seed: 1, count: 120 }
] as const
