import { Conformance } from "effect-opossum/testing"
import { suite } from "../support/conformance.ts"

suite("the oracle", Conformance.oracle, { maintenance: true, place: Conformance.oraclePlace })
