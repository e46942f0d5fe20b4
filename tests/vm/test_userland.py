"""The guest's file system and kernel do what programs expect of a Debian machine."""

from __future__ import annotations

from tests.vm.running_vm import Vm


def test_a_folder_of_the_image_can_be_renamed(vm: Vm) -> None:
    told = vm.sh(
        "python3 -c \"import os; os.rename('/etc/apt', '/etc/apt2')\"; test ! -e /etc/apt; ls /etc/apt2/sources.list"
    )

    assert told == "/etc/apt2/sources.list\n"


def test_what_is_removed_from_the_image_is_gone_and_can_be_made_anew(vm: Vm) -> None:
    script = """
        rm /etc/debian_version
        test ! -e /etc/debian_version
        rm -r /usr/share/perl5
        mkdir /usr/share/perl5
        touch /usr/share/perl5/mine
        ls -A /usr/share/perl5
    """

    assert vm.sh(script) == "mine\n"


def test_git_keeps_a_repository_in_the_workspace(vm: Vm) -> None:
    script = """
        git config --global user.email tester@example.org
        git config --global user.name tester
        git init -q one
        cp -r /usr/share/perl5 one/
        git -C one add .
        git -C one commit -qm first
        git -C one mv perl5 moved
        git -C one commit -qm second
        git -C one gc -q
        git clone -q one two
        git -C two fsck
        git -C two status --porcelain
        git -C two rev-list --count HEAD
    """

    assert vm.sh(script) == "2\n"


def test_a_package_is_installed_and_removed_by_dpkg(vm: Vm) -> None:
    script = r"""
        mkdir -p build/DEBIAN build/usr/bin
        printf 'Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n' >build/DEBIAN/control
        printf '#!/bin/sh\necho hello\n' >build/usr/bin/hello
        chmod 755 build/usr/bin/hello
        dpkg-deb -b build hello.deb >/dev/null
        dpkg -i hello.deb >/dev/null
        hello
        dpkg -r hello >/dev/null
        test ! -e /usr/bin/hello
    """

    assert vm.sh(script) == "hello\n"


def test_programs_may_make_user_namespaces(vm: Vm) -> None:
    assert vm.sh("setpriv --reuid 1000 --regid 1000 --clear-groups unshare -Ur id -u") == "0\n"


def test_shared_folders_have_the_modes_that_programs_expect(vm: Vm) -> None:
    told = vm.sh("stat -c '%a %n' /tmp /dev/shm /dev/null /dev/tty /workspace")

    assert told == "1777 /tmp\n1777 /dev/shm\n666 /dev/null\n666 /dev/tty\n755 /workspace\n"


def test_a_program_can_open_a_pseudo_terminal(vm: Vm) -> None:
    assert vm.sh("python3 -c 'import os, pty; print(os.ttyname(pty.openpty()[1]))'").startswith("/dev/pts/")


def test_a_program_can_share_memory_and_lock(vm: Vm) -> None:
    program = "from multiprocessing import Lock, shared_memory as s; m = s.SharedMemory(create=True, size=9); Lock()"

    assert vm.sh(f"python3 -c '{program}; m.close(); m.unlink(); print(m.size >= 9)'") == "True\n"


def test_only_the_loopback_network_is_there(vm: Vm) -> None:
    assert vm.sh("ls /sys/class/net") == "lo\n"
    assert "127.0.0.1" in vm.sh("ip -brief address show up")


def test_python_has_pip_venv_and_uv_and_pip_installs_into_the_system(vm: Vm) -> None:
    script = """
        mkdir -p wheel/greet-1.0.dist-info
        echo 'print("greeted")' > wheel/greet.py
        printf 'Metadata-Version: 2.1\\nName: greet\\nVersion: 1.0\\n' > wheel/greet-1.0.dist-info/METADATA
        printf 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n' > wheel/greet-1.0.dist-info/WHEEL
        touch wheel/greet-1.0.dist-info/RECORD
        (cd wheel && python3 -m zipfile -c ../greet-1.0-py3-none-any.whl greet.py greet-1.0.dist-info)
        pip install --quiet --no-index ./greet-1.0-py3-none-any.whl
        python3 -m greet
        uv venv --quiet --offline own && uv pip install --quiet --offline -p own ./greet-1.0-py3-none-any.whl
        own/bin/python -m greet
        python3 -c 'import venv, ensurepip'
    """

    assert vm.sh(script, timeout_seconds=120) == "greeted\ngreeted\n"
