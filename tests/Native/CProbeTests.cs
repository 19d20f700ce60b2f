using System;
using System.IO;
using System.Runtime.Versioning;
using Xunit;

namespace LowLevel.Tests.Native;

public sealed class CProbeTests
{
    private static string SystemPath => Environment.GetEnvironmentVariable("PATH") ?? "";

    [Fact]
    public void Without_a_compiler_every_expression_has_the_reason_instead_of_a_value()
    {
        CProbe probe = CProbe.Run("", path: "");
        (ulong? value, string reason) = probe.Find("sizeof(struct vring_desc)");
        Assert.Null(value);
        Assert.Equal("no C compiler on PATH (gcc, cc, clang)", reason);
    }

    [Fact]
    [SupportedOSPlatform("linux")]
    public void A_compiler_that_does_not_work_is_no_compiler()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-compiler-");
        try
        {
            string fake = Path.Combine(folder.FullName, "gcc");
            File.WriteAllText(fake, "#!/bin/sh\necho stdio.h is missing >&2\nexit 1\n");
            File.SetUnixFileMode(fake, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            CProbe probe = CProbe.Run("", folder.FullName);
            Assert.Equal($"{fake} does not compile even an empty program: stdio.h is missing", probe.WhyNot);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void Values_and_reasons_come_from_the_programs_lines()
    {
        CProbe probe = CProbe.Run(
            """
            #include <stdio.h>
            int main(void) { printf("BIG\t18446744073709551615\nGONE\tabsent\tthe header is old\n"); return 0; }
            """,
            SystemPath);
        SkipWithoutCompiler(probe);
        Assert.Equal((ulong.MaxValue, ""), probe.Find("BIG"));
        Assert.Equal((null, "the header is old"), probe.Find("GONE"));
        Assert.Throws<InvalidOperationException>(() => probe.Find("NEVER_PRINTED"));
    }

    [Fact]
    public void A_probe_that_a_working_compiler_refuses_is_a_failure_and_no_skip()
    {
        SkipWithoutCompiler(CProbe.Run("int main(void) { return 0; }", SystemPath));
        InvalidOperationException problem = Assert.Throws<InvalidOperationException>(() => CProbe.Run("this is not C", SystemPath));
        Assert.Contains("refuses the probe", problem.Message, StringComparison.Ordinal);
    }

    private static void SkipWithoutCompiler(CProbe probe)
    {
        if (probe.WhyNot is { } reason)
        {
            Assert.Skip($"the probe's own reading is not tested: {reason}");
        }
    }
}
