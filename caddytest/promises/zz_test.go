//go:build linux
package promises
import ("testing";"os/exec";"github.com/caddy-xmpp/xmpp-upload/caddytest/rig")
func TestZZ(t *testing.T) {
	s, disk, _ := onSmallDisks(t, 2)
	s.Start(s.site(roomy...))
	stop, granted := s.manySlots()
	rig.Await(t, "slots", func() bool { return granted() > 4000 || t.Failed() })
	stop()
	ls := func(){ out,_ := exec.Command("sh","-c","ls -ls "+s.slots+"; df -k "+disk).CombinedOutput(); t.Log(string(out)) }
	ls()
	_ = disk
	ls()
	s.Stop()
	ls()
	t.Log(s.Output())
}
