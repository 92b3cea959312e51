// Package space tells how much room a file system has.
package space
