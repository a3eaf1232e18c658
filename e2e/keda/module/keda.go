// Package keda holds nothing: it names the module that KEDA is built from.
package keda
